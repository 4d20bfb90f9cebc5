/* What weir-fetch gives up before it reads a stranger's byte: the parsers that it feeds are not ours, and one of them is known to be unsafe. */
#pragma once

/* Dies with its parent, gains no privileges, starts no processes and reaches no other, opens nothing for writing, listens to nobody; little memory and few descriptors.
 * What the system doesn't offer is left out. */
void confine(void);
