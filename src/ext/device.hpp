// The devices of the loaded backends, and the kinds of memory that they have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ggml-backend.h"

namespace smith {

struct Device {
    std::string              name;         // CUDA0, CPU, BLAS, ...
    std::string              description;  // of the hardware
    std::string              backend;      // CUDA, CPU, ...
    std::string              type;         // cpu, gpu, igpu, accel or meta
    std::string              id;           // PCI bus id; empty where there is none
    uint64_t                 memory_free  = 0;
    uint64_t                 memory_total = 0;
    std::vector<std::string> buffer_types;  // the first one is where weights go by default
};

Device device_facts(ggml_backend_dev_t device);

// In the order of the registry. Needs an engine.
std::vector<Device> devices();

// Throws InvalidOption with the names there are. The CPU is not chosen that way: it is always there.
ggml_backend_dev_t accelerator(const std::string & name);

// The buffer type of that name, or where the device of that name keeps weights. Throws InvalidOption.
ggml_backend_buffer_type_t buffer_type(const std::string & name);

}  // namespace smith
