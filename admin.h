/* The operator's listener: metrics, health, the API, a plain list of live streams. On the main loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct admin;
struct hub;
struct ingest;
struct loop;
struct origin;
struct registry;
struct sources;
struct srt_server;

/* `origin` may be NULL (nobody writes streams here); `decides`: this node has the role of one, so that broadcasts can be cut here. `registry`
 * may be NULL (it is in no fleet). */
struct admin *admin_create(struct loop *loop, struct hub *hub, struct origin *origin, bool decides, struct registry *registry);
int admin_listen(struct admin *admin, const char *address, uint16_t *ret_port);
/* Whose links are shown; NULL: none. */
void admin_show_srt(struct admin *admin, struct srt_server *srt);
/* Whose publishers' advice is shown; NULL: none. */
void admin_show_ingest(struct admin *admin, struct ingest *ingest);
/* Which sources are shown; NULL: none. */
void admin_show_sources(struct admin *admin, struct sources *sources);
/* What /readyz says: 200 while ready, else 503. */
void admin_set_ready(struct admin *admin, bool ready);
/* NULL is allowed. */
void admin_destroy(struct admin *admin);
