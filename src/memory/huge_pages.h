// Weights, caches and activations in huge pages (2 MiB on x86-64), where Linux has them for who asks.
//
// To generate a token is to read all weights once. In pages of 4 KiB that is a miss of the TLB for each 4 KiB, dear in a
// virtual machine, whose page tables are walked in two dimensions; and a CPU's prefetcher stops at the end of a page.
#pragma once

#include <stddef.h>

#if defined(__cplusplus)
extern "C" {
#endif

// Memory to be used, of which nothing has been read or written; or all of the mapped file `file`, to be read now (else -1).
typedef void (*smith_huge_pages_t)(void * begin, size_t size, int file);

// Where ggml-base and libllama of the patch memory-huge-pages look for it; NULL for upstream's pages. Weak, so that an
// engine beside a ggml-base without the patch loads.
__attribute__((weak)) extern smith_huge_pages_t ggml_smith_huge_pages;

// Set by the environment to 0, it leaves the pages to upstream.
#define SMITH_HUGE_PAGES "LLAMASMITH_HUGE_PAGES"

#if defined(__cplusplus)
}
#endif
