// Exits with 0 if this compiler and this machine handle AMX tiles soundly. Compiled and run by options.py.
//
// The headers of GCC 12 (at least) tell the compiler that ldtilecfg reads 8 bytes; it reads 64. With optimisation the
// other stores into a local configuration are dropped, and llama.cpp's AMX kernels die of SIGSEGV or SIGILL.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18
#define TILES 8

struct config {
    uint8_t  palette;
    uint8_t  start_row;
    uint8_t  reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t  rows[16];
};

static void load(uint8_t rows, uint16_t bytes) {
    _Alignas(64) struct config config = { 0 };
    config.palette = 1;
    for (int i = 0; i < TILES; i++) {
        config.rows[i]          = rows;
        config.bytes_per_row[i] = bytes;
    }
    _tile_loadconfig(&config);
}

// A store to local memory right before the tile is loaded from it must reach the tile.
static int round_trip(uint8_t seed) {
    _Alignas(64) uint8_t in[1024];
    _Alignas(64) uint8_t out[1024];
    for (int i = 0; i < 1024; i++) {
        in[i] = (uint8_t) (seed + i);
    }
    _tile_loadd(0, in, 64);
    _tile_stored(0, out, 64);
    for (int i = 0; i < 1024; i++) {
        if (out[i] != (uint8_t) (seed + i)) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char ** argv) {
    (void) argv;
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0) {
        return 1;
    }
    load(16, 64);
    _Alignas(64) struct config back;
    memset(&back, 0, sizeof(back));
    _tile_storeconfig(&back);
    for (int i = 0; i < TILES; i++) {
        if (back.palette != 1 || back.rows[i] != 16 || back.bytes_per_row[i] != 64) {
            return 1;
        }
    }
    return round_trip((uint8_t) argc) ? 0 : 1;
}
