#include <stddef.h>
#include <string.h>

#include "proc.h"

static const char * const policy_names[SMITH_WAIT_COUNT] = { "spin", "yield", "park", "adaptive" };

const char * smith_wait_name(int policy) {
    return policy >= 0 && policy < SMITH_WAIT_COUNT ? policy_names[policy] : NULL;
}

int smith_wait_from_name(const char * name) {
    for (int policy = 0; policy < SMITH_WAIT_COUNT; policy++) {
        if (strcmp(name, policy_names[policy]) == 0) {
            return policy;
        }
    }
    return -1;
}
