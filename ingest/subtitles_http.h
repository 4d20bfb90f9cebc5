/* POST /api/v1/streams/{app}/{stream}/cues, on the operator's listener of the ingest node that the stream is published to. */
#pragma once

struct http_request;
struct ingest;

/* A request of whatever method. On the loop of the role. */
void subtitles_handle(struct ingest *ingest, struct http_request *req, const char *stream);
void subtitles_metrics_register(void);
