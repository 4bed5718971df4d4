#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "huge_pages.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 // Linux 5.14; not in every libc's headers
#endif

// Below it, a huge page more or less is no matter for the TLB, but may be for memory.
#define SMALLEST (4u << 20)

// Whether so little of the mapped file is in memory that it is quicker to read than to look where it lies: its header, which
// was read to check it. Of another user's file the kernel says that all is there.
static bool is_cold(void * begin, size_t size, size_t page) {
    const size_t    n_pages = (size + page - 1) / page;
    unsigned char * there   = malloc(n_pages);
    size_t          n_there = n_pages;
    if (there != NULL && mincore(begin, size, there) == 0) {
        n_there = 0;
        for (size_t i = 0; i < n_pages; i++) {
            n_there += there[i] & 1;
        }
    }
    free(there);
    return n_there < n_pages / 4;
}

// What the kernel refuses (no huge pages in it, or switched off) is as without us: no error, and nothing to undo.
static void use_huge_pages(void * begin, size_t size, int file) {
    const uintptr_t page  = (uintptr_t) sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t) begin + page - 1) / page * page;
    const uintptr_t end   = ((uintptr_t) begin + size) / page * page;
    if (size >= SMALLEST) {
        madvise((void *) first, end - first, MADV_HUGEPAGE);
    }
    if (file < 0) {
        return;
    }
    if (size >= SMALLEST && is_cold(begin, size, page)) {
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED); // small pages of its header would have all others read as such
    }
    madvise(begin, size, MADV_POPULATE_READ); // or they are read when they are needed
}

// An engine is a module: with it the pages come, and go. A pristine engine in its place has upstream's.
__attribute__((constructor)) static void on_load(void) {
    const char * const asked = getenv(SMITH_HUGE_PAGES);
    const bool         off   = asked != NULL && strcmp(asked, "0") == 0;
    if (&ggml_smith_huge_pages != NULL && !off) {
        ggml_smith_huge_pages = use_huge_pages;
    }
}

__attribute__((destructor)) static void on_unload(void) {
    if (&ggml_smith_huge_pages != NULL && ggml_smith_huge_pages == use_huge_pages) {
        ggml_smith_huge_pages = NULL;
    }
}
#endif
