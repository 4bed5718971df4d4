// Exits with 0 if the compiler keeps stores to local memory that AMX's loads read. Compiled by variants.py, which puts
// stand-ins for these loads into the assembly text: they note the address, and what lies there is looked at here, on
// any x86-64 CPU.
//
// Some compilers' headers (GCC 12's at least) tell that ldtilecfg reads 8 bytes, and tileloadd none; they read 64 and
// 1024, so with optimisation the stores are dropped.
#include <immintrin.h>
#include <stdint.h>

#define ROWS  16
#define BYTES 64

struct config {
    uint8_t  palette;
    uint8_t  start_row;
    uint8_t  reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t  rows[16];
};

const volatile uint8_t * volatile smith_seen; // set by the stand-ins
uint64_t smith_kept;

__attribute__((noinline)) static void load_config(uint8_t rows, uint16_t bytes) {
    _Alignas(64) struct config config = { 0 };
    config.palette = 1;
    for (int i = 0; i < 8; i++) {
        config.rows[i]          = rows;
        config.bytes_per_row[i] = bytes;
    }
    _tile_loadconfig(&config);
}

__attribute__((noinline)) static void load_tile(uint8_t seed) {
    _Alignas(64) uint8_t in[ROWS * BYTES];
    for (int i = 0; i < ROWS * BYTES; i++) {
        in[i] = (uint8_t) (seed + i);
    }
    _tile_loadd(0, in, BYTES);
}

// The functions above have returned, but nothing has been called since: their memory is as they left it.
int main(int argc, char ** argv) {
    (void) argv;
    load_config((uint8_t) (argc + 4), (uint16_t) (argc + 60));
    const volatile uint8_t * at = smith_seen;
    if (at == 0 || at[0] != 1) {
        return 1;
    }
    for (int i = 0; i < 8; i++) {
        if (at[48 + i] != argc + 4 || at[16 + 2 * i] != argc + 60) {
            return 1;
        }
    }
    load_tile((uint8_t) argc);
    at = smith_seen - BYTES; // the stand-in notes base + stride
    for (int i = 0; i < ROWS * BYTES; i++) {
        if (at[i] != (uint8_t) (argc + i)) {
            return 1;
        }
    }
    return 0;
}
