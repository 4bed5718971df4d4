// Sleeping in the kernel until a word changes.
#pragma once

#include <stdatomic.h>

// Sleeps while *word == old. May return early (signal, spurious wake-up): the caller looks at the word again.
void smith_park(atomic_int * word, int old);

// Wakes every thread that sleeps on `word`. To be called after the word has changed.
void smith_unpark_all(atomic_int * word);
