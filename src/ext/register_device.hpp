// A device as Python sees it.
#pragma once

#include <vector>

#include "device.hpp"
#include "pybind.hpp"

inline py::tuple describe(const std::vector<smith::Device> & devices) {
    py::list all;
    for (const smith::Device & device : devices) {
        py::dict facts;
        facts["name"]         = to_str(device.name);
        facts["description"]  = to_str(device.description);
        facts["backend"]      = to_str(device.backend);
        facts["type"]         = device.type;
        facts["id"]           = to_str(device.id);
        facts["memory_free"]  = device.memory_free;
        facts["memory_total"] = device.memory_total;
        facts["buffer_types"] = py::tuple(py::cast(device.buffer_types));
        all.append(std::move(facts));
    }
    return py::tuple(all);
}
