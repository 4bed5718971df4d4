#include "errors.hpp"
#include "machine/bandwidth.h"
#include "machine/cpu.h"
#include "pybind.hpp"
#include "unlocked.hpp"

static double read_bandwidth(int n_threads, std::size_t n_bytes, double seconds) {
    const double found = smith::unlocked([&] { return smith_read_bandwidth(n_threads, n_bytes, seconds); });
    if (found < 0) {
        throw smith::Error("NotEnoughMemory", "Reading memory with " + std::to_string(n_threads) + " threads needs " +
                                                  std::to_string(n_bytes / 1000000) + " MB and that many threads; the "
                                                  "system does not give them.");
    }
    return found;
}

static const char * const ARCHITECTURES[] = { "other", "x86_64", "aarch64" };

static py::dict cpu_facts() {
    smith_cpu_facts facts;
    smith_cpu_read(&facts);
    py::dict found;
    found["arch"]        = ARCHITECTURES[facts.arch];
    found["leaf1_ecx"]   = facts.leaf1_ecx;
    found["leaf7_ebx"]   = facts.leaf7_ebx;
    found["leaf7_ecx"]   = facts.leaf7_ecx;
    found["leaf7_edx"]   = facts.leaf7_edx;
    found["leaf7_1_eax"] = facts.leaf7_1_eax;
    found["ext1_ecx"]    = facts.ext1_ecx;
    found["xcr0"]        = facts.xcr0;
    found["tiles"]       = facts.tiles;
    found["hwcap"]       = facts.hwcap;
    found["hwcap2"]      = facts.hwcap2;
    return found;
}

static smith_cpu_facts facts_of(const py::dict & given) {
    smith_cpu_facts   facts = {};
    const std::string arch  = given["arch"].cast<std::string>();
    for (int i = 0; i < 3; i++) {
        facts.arch = arch == ARCHITECTURES[i] ? i : facts.arch;
    }
    facts.leaf1_ecx   = given["leaf1_ecx"].cast<std::uint32_t>();
    facts.leaf7_ebx   = given["leaf7_ebx"].cast<std::uint32_t>();
    facts.leaf7_ecx   = given["leaf7_ecx"].cast<std::uint32_t>();
    facts.leaf7_edx   = given["leaf7_edx"].cast<std::uint32_t>();
    facts.leaf7_1_eax = given["leaf7_1_eax"].cast<std::uint32_t>();
    facts.ext1_ecx    = given["ext1_ecx"].cast<std::uint32_t>();
    facts.xcr0        = given["xcr0"].cast<std::uint64_t>();
    facts.tiles       = given["tiles"].cast<bool>();
    facts.hwcap       = given["hwcap"].cast<std::uint64_t>();
    facts.hwcap2      = given["hwcap2"].cast<std::uint64_t>();
    return facts;
}

static py::dict cpu_features(const py::dict & given) {
    static const char * const states[] = { "absent", "barred", "usable" };
    const smith_cpu_facts     facts    = facts_of(given);
    py::dict                  found;
    for (int i = 0; smith_cpu_feature_name(facts.arch, i) != nullptr; i++) {
        found[smith_cpu_feature_name(facts.arch, i)] = states[smith_cpu_feature_state(&facts, i)];
    }
    return found;
}

void register_machine(py::module_ & m) {
    m.def("cpu_facts", &cpu_facts,
          "What CPU and operating system say of instruction sets: registers of CPUID and XCR0, or Linux's HWCAP.");
    m.def("cpu_features", &cpu_features, py::arg("facts"),
          "What facts mean: each feature that decides about variants is ``usable``, ``absent``, or ``barred``, which "
          "the CPU has and the system has not switched on.");
    m.def("read_bandwidth", &read_bandwidth, py::kw_only(), py::arg("n_threads"), py::arg("n_bytes"),
          py::arg("seconds"),
          "Bytes per second that ``n_threads`` threads read together from ``n_bytes`` of memory: the best pass within "
          "``seconds``. Raises NotEnoughMemory.");
}
