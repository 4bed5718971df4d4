// What code may use here: what the CPU has, and of it what the operating system has switched on. A CPU may have
// instructions whose registers the system does not save; using one is an illegal instruction.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum smith_arch {
    SMITH_ARCH_OTHER,
    SMITH_ARCH_X86_64,
    SMITH_ARCH_AARCH64,
};

// What CPU and system say, unjudged. What the architecture does not have is 0.
struct smith_cpu_facts {
    int      arch;         // enum smith_arch
    uint32_t leaf1_ecx;    // CPUID
    uint32_t leaf7_ebx;
    uint32_t leaf7_ecx;
    uint32_t leaf7_edx;
    uint32_t leaf7_1_eax;
    uint32_t ext1_ecx;
    uint64_t xcr0;         // register states that the system saves; 0 where it does not use XSAVE
    bool     tiles;        // the system lets this process use AMX tiles
    uint64_t hwcap;        // AT_HWCAP, AT_HWCAP2
    uint64_t hwcap2;
};

enum smith_feature_state {
    SMITH_FEATURE_ABSENT,
    SMITH_FEATURE_BARRED,  // the CPU has it, the system has not switched it on
    SMITH_FEATURE_USABLE,
};

// Reads the facts of this machine. Where the CPU has AMX, this asks Linux for the permission to use it, as ggml does.
void smith_cpu_read(struct smith_cpu_facts * facts);

// The features of an architecture, by index; a name is that of /proc/cpuinfo, but for sse3 (there: pni). NULL: no more.
const char *             smith_cpu_feature_name(int arch, int index);
enum smith_feature_state smith_cpu_feature_state(const struct smith_cpu_facts * facts, int index);

#ifdef __cplusplus
}
#endif
