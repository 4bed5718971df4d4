#include "handles.hpp"
#include "register_options.hpp"
#include "training.hpp"

using smith::PyModel;
using smith::PyThreadPool;
using smith::StepOptions;
using smith::Trainer;
using smith::TrainingOptions;

static std::shared_ptr<Trainer> make_trainer(const PyModel & model, const PyThreadPool & pool, const py::kwargs & given) {
    TrainingOptions o;
    smith::Keywords in(given);
    in.read("n_ctx", o.n_ctx);
    in.read("n_batch", o.n_batch);
    in.read("n_ubatch", o.n_ubatch);
    in.read("optimizer", o.optimizer);
    in.read("param_filter", o.param_filter);
    in.finish("A trainer");
    model.get(), pool.get();
    return smith::make_unlocked<Trainer>(model.model, pool.pool, o);
}

static py::tuple step(Trainer & self, const std::vector<llama_token> & tokens, double learning_rate, double weight_decay,
                      bool train) {
    if (self.closed()) {
        throw smith::Error("SessionClosed", "The training is over. Begin another one.");
    }
    const StepOptions options{ learning_rate, weight_decay, train };
    const auto        found = smith::unlocked([&] { return self.step(tokens, options); });
    return py::make_tuple(found.loss, found.accuracy);
}

void register_training(py::module_ & m) {
    py::class_<Trainer, std::shared_ptr<Trainer>>(m, "Trainer", "Changes a model's weights, one example at a time.")
        .def(py::init(&make_trainer), py::arg("model"), py::kw_only(), py::arg("pool"))
        .def("step", &step, py::arg("tokens"), py::kw_only(), py::arg("learning_rate"), py::arg("weight_decay"), py::arg("train"),
             "Loss and accuracy of n_ctx + 1 tokens, each of which predicts the next, before the weights change.")
        .def("close", [](Trainer & self) { smith::unlocked([&] { self.close(); }); })
        .def_property_readonly("closed", &Trainer::closed)
        .def_property_readonly("trained", [](const Trainer & self) { return py::tuple(py::cast(self.trained())); })
        .def_property_readonly("n_weights", &Trainer::n_weights)
        .def_property_readonly("n_ctx", &Trainer::n_ctx)
        .def_property_readonly("n_bytes", &Trainer::bytes);
}
