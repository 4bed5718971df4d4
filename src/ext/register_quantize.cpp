#include <cstring>

#include "handles.hpp"
#include "progress.hpp"
#include "quantize.hpp"
#include "register_options.hpp"

using smith::QuantizeOptions;

using Row = py::array_t<float, py::array::c_style | py::array::forcecast>;

static py::tuple quantize(const std::string & from, const std::string & to, const std::string & type,
                          const std::vector<std::pair<std::string, Row>> & imatrix, py::object progress,
                          const py::kwargs & given) {
    QuantizeOptions o;
    smith::Keywords in(given);
    in.read("n_threads", o.n_threads);
    in.read("output_tensor_type", o.output_tensor_type);
    in.read("token_embedding_type", o.token_embedding_type);
    in.read("allow_requantize", o.allow_requantize);
    in.read("quantize_output_tensor", o.quantize_output_tensor);
    in.read("pure", o.pure);
    in.read("keep_split", o.keep_split);
    in.read("dry_run", o.dry_run);
    in.read("tensor_types", o.tensor_types);
    in.read("kv_overrides", o.kv_overrides);
    in.read("prune_layers", o.prune_layers);
    in.finish("quantize");
    for (const auto & [name, row] : imatrix) {
        o.imatrix.emplace_back(name, std::vector<float>(row.data(), row.data() + row.size()));
    }
    smith::ProgressBridge bridge(std::move(progress));
    o.progress = [&bridge](int64_t done, int64_t all) { return bridge(static_cast<float>(done) / static_cast<float>(all)); };
    try {
        const auto result = smith::unlocked([&] { return smith::quantize(from, to, type, o); });
        return py::make_tuple(result.mib_before, result.mib_after);
    } catch (const smith::Interrupted &) {
        bridge.rethrow();
        throw smith::Error("Cancelled", "Quantising was stopped. " + to + " was not written.");
    }
}

void register_quantize(py::module_ & m) {
    m.def("quantize_types", [] { return py::tuple(py::cast(smith::quantize_types())); },
          "Names of the types that quantize() knows, the largest first.");
    m.def("quantize", &quantize, py::arg("src"), py::arg("dst"), py::arg("type"), py::kw_only(), py::arg("imatrix"),
          py::arg("progress"),
          "Writes a model anew with other types. Returns MiB of the weights before and after.");
    m.def(
        "read_imatrix",
        [](const std::string & path) {
            py::dict out;
            for (const auto & [name, values] : smith::unlocked([&] { return smith::read_imatrix(path); })) {
                py::array_t<float> row(static_cast<py::ssize_t>(values.size()));
                std::memcpy(row.mutable_data(), values.data(), values.size() * sizeof(float));
                out[to_str(name)] = row;
            }
            return out;
        },
        py::arg("path"), "An importance matrix (GGUF, by llama-imatrix): for each weight an array, float32.");
}
