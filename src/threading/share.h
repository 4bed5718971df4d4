// How many threads work on the graph just now.
#pragma once

struct smith_wait;

// By thread 0, before its graph: finds how many may, and wakes those who come.
void smith_share(struct smith_wait * wait);

// By whoever looks for the next step, while none is under way. Returns how many threads work on it: another number than
// before, when pools have begun or ended a graph meanwhile.
int smith_share_again(struct smith_wait * wait);
