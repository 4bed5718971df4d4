#include "device.hpp"

#include "engine.hpp"
#include "errors.hpp"

namespace smith {

namespace {

const char * type_name(enum ggml_backend_dev_type type) {
    switch (type) {
        case GGML_BACKEND_DEVICE_TYPE_CPU:   return "cpu";
        case GGML_BACKEND_DEVICE_TYPE_GPU:   return "gpu";
        case GGML_BACKEND_DEVICE_TYPE_IGPU:  return "igpu";
        case GGML_BACKEND_DEVICE_TYPE_ACCEL: return "accel";
        case GGML_BACKEND_DEVICE_TYPE_META:  return "meta";
    }
    return "unknown";
}

std::vector<ggml_backend_buffer_type_t> buffer_types(ggml_backend_dev_t device) {
    std::vector<ggml_backend_buffer_type_t> types;
    const auto add = [&](ggml_backend_buffer_type_t type) {
        if (type != nullptr) {
            types.push_back(type);
        }
    };
    add(ggml_backend_dev_buffer_type(device));
    add(ggml_backend_dev_host_buffer_type(device));
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
    if (extra != nullptr) {
        ggml_backend_buffer_type_t * more = extra(device);
        for (; more != nullptr && *more != nullptr; more++) {
            add(*more);
        }
    }
    return types;
}

template <typename Visit> void each_device(Visit && visit) {
    engine();  // with an empty registry ggml would search for backends on its own
    for (std::size_t i = 0; i < ggml_backend_dev_count(); i++) {
        visit(ggml_backend_dev_get(i));
    }
}

}  // namespace

Device device_facts(ggml_backend_dev_t handle) {
    ggml_backend_dev_props props = {};
    ggml_backend_dev_get_props(handle, &props);
    Device device;
    device.name         = ggml_backend_dev_name(handle);
    device.description  = ggml_backend_dev_description(handle);
    device.backend      = ggml_backend_reg_name(ggml_backend_dev_backend_reg(handle));
    device.type         = type_name(ggml_backend_dev_type(handle));
    device.id           = props.device_id == nullptr ? "" : props.device_id;
    device.memory_free  = props.memory_free;
    device.memory_total = props.memory_total;
    for (ggml_backend_buffer_type_t type : buffer_types(handle)) {
        device.buffer_types.emplace_back(ggml_backend_buft_name(type));
    }
    return device;
}

std::vector<Device> devices() {
    std::vector<Device> found;
    each_device([&](ggml_backend_dev_t handle) { found.push_back(device_facts(handle)); });
    return found;
}

ggml_backend_dev_t accelerator(const std::string & name) {
    ggml_backend_dev_t found = nullptr;
    std::string        allowed;
    each_device([&](ggml_backend_dev_t device) {
        if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) {
            return;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(ggml_backend_dev_name(device));
        found = name == ggml_backend_dev_name(device) ? device : found;
    });
    if (found == nullptr) {
        throw Error("InvalidOption", "There is no device '" + name + "' to choose. " +
                                         (allowed.empty() ? "This process has the CPU alone, which is always used: give an "
                                                            "empty list, or load a backend first."
                                                          : "There are: " + allowed + "."));
    }
    return found;
}

ggml_backend_buffer_type_t buffer_type(const std::string & name) {
    ggml_backend_buffer_type_t found = nullptr;
    std::string                allowed;
    each_device([&](ggml_backend_dev_t device) {
        const auto types = buffer_types(device);
        const auto offer = [&](const char * word, ggml_backend_buffer_type_t type) {
            if (found == nullptr && name == word) {
                found = type;
            }
            if (("," + allowed + ",").find("," + std::string(word) + ",") == std::string::npos) {
                allowed += (allowed.empty() ? "" : ",") + std::string(word);
            }
        };
        if (!types.empty()) {
            offer(ggml_backend_dev_name(device), types.front());
        }
        for (ggml_backend_buffer_type_t type : types) {
            offer(ggml_backend_buft_name(type), type);
        }
    });
    if (found == nullptr) {
        throw Error("InvalidOption", "There is no device or buffer type '" + name + "'. There are: " + allowed + ".");
    }
    return found;
}

}  // namespace smith
