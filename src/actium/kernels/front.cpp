/* The shortest way from tensors to a kernel and back: what op.py's FlatCall and gated.py do, without an interpreter in
 * between.
 *
 * Stage: op -> [front] -> kernel. In: one or two plain, contiguous CPU tensors. Out: a tensor with its node in autograd's
 * graph, or None where anything else may be going on; the caller then takes the general way. Built on request (front.py)
 * against the headers of the torch that is installed, and used by that one alone.
 *
 * The kernels of one activation are given as addresses; nothing here knows what they compute.
 */
#include <Python.h>

#include "call.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/TracerMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/autograd/saved_variable.h>

namespace {

using torch::autograd::SavedVariable;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/* Their own difference leaves the bits of backends. */
bool is_within(c10::DispatchKeySet keys, c10::DispatchKeySet allowed) {
  return (keys.raw_repr() & ~allowed.raw_repr()) == 0;
}

/* Neither a subclass, a wrapper of functorch, a view with a pending sign, nor on another device. */
bool is_plain(const at::Tensor& t) {
  constexpr c10::DispatchKeySet allowed({c10::DispatchKey::CPU, c10::DispatchKey::AutogradCPU,
                                         c10::DispatchKey::AutocastCPU, c10::DispatchKey::ADInplaceOrView});
  return is_within(t.key_set(), allowed) && t.is_contiguous() && !t._fw_grad(0).defined();
}

/* No mode and no transform watches this thread. */
bool is_quiet() {
  constexpr c10::DispatchKeySet usual = c10::default_included_set | c10::autocast_dispatch_keyset;
  return is_within(c10::impl::tls_local_dispatch_key_set().included_, usual) && !c10::impl::dispatch_mode_enabled() &&
      !at::impl::torch_function_mode_enabled() && !at::tracer::impl::is_dispatch_enabled();
}

/* (x), (gate, up) or (x, dim, whether the gate is first): what a call got. */
PyObject* operands_in_python(const Operands& in) {
  PyObject* const x = THPVariable_Wrap(in.x[0]);
  if (x == nullptr) return nullptr;
  if (in.dim >= 0) return Py_BuildValue("(NnN)", x, static_cast<Py_ssize_t>(in.dim), PyBool_FromLong(in.gate_first));
  if (in.count() == 1) return Py_BuildValue("(N)", x);
  return Py_BuildValue("(NN)", x, THPVariable_Wrap(in.x[1]));
}

struct ActiumBackward : public torch::autograd::Node {
  std::array<SavedVariable, 2> saved;
  size_t count = 1;
  int64_t dim = -1;
  bool gate_first = true;
  std::shared_ptr<Call> call;

  variable_list apply(variable_list&& grads) override {
    std::lock_guard<std::mutex> lock(mutex_);
    const at::Tensor& grad = grads[0];
    variable_list result(count);
    bool any = false;
    for (size_t k = 0; k < count; k++) any |= task_should_compute_output(k);
    if (!grad.defined() || !any) return result;
    Operands in{{}, dim, gate_first};
    bool quick = !at::GradMode::is_enabled() && is_plain(grad) && is_quiet();
    for (size_t k = 0; k < count; k++) { /* a hook may give back something else than it got */
      in.x[k] = saved[k].unpack();
      quick &= is_plain(in.x[k]) && grad.scalar_type() == in.x[k].scalar_type() &&
          (dim >= 0 ? in.x[k].dim() == grad.dim() : in.x[k].sizes() == grad.sizes());
    }
    if (!quick || (dim >= 0 && grad.sizes() != at::IntArrayRef(in.sizes()))) return general(in, grad);
    for (size_t k = 0; k < count; k++)
      if (task_should_compute_output(k)) result[k] = fresh_like(in.x[k]);
    backward(*call, in, grad, result);
    return result;
  }

  /* Through Python: gradient(operands, grad, (wanted, ...)) -> (gradient or None, ...). */
  variable_list general(const Operands& in, const at::Tensor& grad) {
    PyGILState_STATE state = PyGILState_Ensure();
    const auto size = static_cast<Py_ssize_t>(count);
    PyObject *operands = operands_in_python(in), *wanted = PyTuple_New(size), *last = THPVariable_Wrap(grad);
    bool good = operands != nullptr && wanted != nullptr && last != nullptr && call->gradient != nullptr;
    for (Py_ssize_t k = 0; good && k < size; k++)
      PyTuple_SET_ITEM(wanted, k, PyBool_FromLong(task_should_compute_output(static_cast<size_t>(k))));
    PyObject* made = good ? PyObject_CallFunctionObjArgs(call->gradient, operands, last, wanted, nullptr) : nullptr;
    Py_XDECREF(operands);
    Py_XDECREF(wanted);
    Py_XDECREF(last);
    variable_list result(count);
    good = made != nullptr && PyTuple_Check(made) && PyTuple_GET_SIZE(made) == size;
    for (Py_ssize_t k = 0; good && k < size; k++) {
      PyObject* item = PyTuple_GET_ITEM(made, k);
      if (item != Py_None && (good = THPVariable_Check(item))) result[static_cast<size_t>(k)] = THPVariable_Unpack(item);
    }
    Py_XDECREF(made);
    if (!good) {
      if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a gradient is a tuple of tensors or None");
      python_error error; /* carries the exception to whoever called backward */
      error.persist();
      PyGILState_Release(state);
      throw std::move(error);
    }
    PyGILState_Release(state);
    return result;
  }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    for (SavedVariable& variable : saved) variable.reset_data();
  }

  std::string name() const override { return "ActiumBackward"; }
};

struct Front {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  std::shared_ptr<Call>* call;
};

at::Tensor run(const std::shared_ptr<Call>& call, const Operands& in) {
  at::Tensor y = in.output();
  if (y.numel() < kSerial) {
    forward(*call, in, y);
  } else {
    PyThreadState* state = PyEval_SaveThread();
    forward(*call, in, y);
    PyEval_RestoreThread(state);
  }
  const bool needed = in.x[0].requires_grad() || (in.count() == 2 && in.x[1].requires_grad());
  if (at::GradMode::is_enabled() && needed) {
    auto node = c10::make_intrusive<ActiumBackward>();
    node->count = in.count();
    node->set_next_edges(node->count == 1 ? torch::autograd::collect_next_edges(in.x[0])
                                          : torch::autograd::collect_next_edges(in.x[0], in.x[1]));
    for (size_t k = 0; k < node->count; k++) node->saved[k] = SavedVariable(in.x[k], false);
    node->call = call;
    node->dim = in.dim;
    node->gate_first = in.gate_first;
    torch::autograd::set_history(y, node);
  }
  return y;
}

/* The operands of a call, if they are what this file is for: (x), (gate, up) or (x, dim, whether the gate is first). */
bool operands_of(const Call& call, PyObject* const* args, Operands& in) {
  if (!THPVariable_CheckExact(args[0]) || (call.kind == kTwo && !THPVariable_CheckExact(args[1]))) return false;
  const at::Tensor& x = in.x[0] = THPVariable_Unpack(args[0]);
  const int index = dtype_index(x.scalar_type());
  if (index < 0 || call.kernels[static_cast<size_t>(index)].forward == nullptr || !is_plain(x) || !is_quiet())
    return false;
  if (call.kind == kTwo) {
    const at::Tensor& up = in.x[1] = THPVariable_Unpack(args[1]);
    return up.scalar_type() == x.scalar_type() && is_plain(up) && up.sizes() == x.sizes();
  }
  if (call.kind == kHalves) {
    if (!PyLong_CheckExact(args[1]) || !PyBool_Check(args[2]) || x.numel() == 0) return false;
    int beyond = 0;
    const long dim = PyLong_AsLongAndOverflow(args[1], &beyond);
    if (beyond != 0) return false;
    in.dim = dim < 0 ? dim + x.dim() : dim;
    in.gate_first = args[2] == Py_True;
    return in.dim >= 0 && in.dim < x.dim() && x.size(in.dim) % 2 == 0;
  }
  return true;
}

PyObject* front_call(PyObject* object, PyObject* const* args, size_t nargsf, PyObject* names) {
  constexpr Py_ssize_t expected[] = {1, 2, 3};
  const std::shared_ptr<Call>& call = *reinterpret_cast<const Front*>(object)->call;
  if (PyVectorcall_NARGS(nargsf) != expected[call->kind] || names != nullptr) {
    PyErr_Format(PyExc_TypeError, "takes %zd arguments", expected[call->kind]);
    return nullptr;
  }
  try {
    Operands in;
    if (operands_of(*call, args, in)) return THPVariable_Wrap(run(call, in));
    Py_RETURN_NONE;
  } catch (python_error& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

/* add(dtype index, address of forward, address of backward) */
PyObject* front_add(PyObject* object, PyObject* args) {
  int index = 0;
  unsigned long long forward = 0, backward = 0;
  if (!PyArg_ParseTuple(args, "iKK", &index, &forward, &backward)) return nullptr;
  if (index < 0 || index >= kDtypes) {
    PyErr_SetString(PyExc_ValueError, "no such dtype");
    return nullptr;
  }
  Kernels& kernels = (*reinterpret_cast<Front*>(object)->call)->kernels[static_cast<size_t>(index)];
  kernels.forward = reinterpret_cast<void*>(forward);
  kernels.backward = reinterpret_cast<void*>(backward);
  Py_RETURN_NONE;
}

/* Front(values, gradient, kind) */
PyObject* front_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *values = nullptr, *gradient = nullptr;
  int kind = kOne;
  if (!PyArg_ParseTuple(args, "O!Oi", &PyTuple_Type, &values, &gradient, &kind)) return nullptr;
  if (kind < 0 || kind >= kKinds) {
    PyErr_SetString(PyExc_ValueError, "no such kind of call");
    return nullptr;
  }
  Front* self = reinterpret_cast<Front*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->vectorcall = front_call;
  self->call = new std::shared_ptr<Call>(std::make_shared<Call>());
  (*self->call)->kind = static_cast<Kind>(kind);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(values); k++)
    (*self->call)->values.push_back(static_cast<float>(PyFloat_AsDouble(PyTuple_GET_ITEM(values, k))));
  Py_INCREF(gradient);
  (*self->call)->gradient = gradient;
  if (PyErr_Occurred()) {
    Py_DECREF(self);
    return nullptr;
  }
  return reinterpret_cast<PyObject*>(self);
}

/* The callable refers to the op, which keeps this object. Nodes that share it count as somebody else who needs it. */
int front_traverse(PyObject* object, visitproc visit, void* arg) {
  const Front* self = reinterpret_cast<Front*>(object);
  if (self->call != nullptr && self->call->use_count() == 1) Py_VISIT((*self->call)->gradient);
  return 0;
}

int front_clear(PyObject* object) {
  Py_CLEAR((*reinterpret_cast<Front*>(object)->call)->gradient);
  return 0;
}

void front_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  delete reinterpret_cast<Front*>(object)->call;
  Py_TYPE(object)->tp_free(object);
}

/* fresh_like(tensor): like torch.empty_like for a dense CPU tensor */
PyObject* module_fresh_like(PyObject*, PyObject* given) {
  if (!THPVariable_Check(given)) {
    PyErr_SetString(PyExc_TypeError, "takes one tensor");
    return nullptr;
  }
  try {
    return THPVariable_Wrap(fresh_like(THPVariable_Unpack(given)));
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

/* memory(): bytes that are kept, and the most that may be */
PyObject* module_memory(PyObject*, PyObject*) {
  auto& recycler = actium::Recycler::instance();
  return Py_BuildValue("nn", static_cast<Py_ssize_t>(recycler.kept()), static_cast<Py_ssize_t>(recycler.limit()));
}

PyMethodDef functions[] = {{"fresh_like", module_fresh_like, METH_O, nullptr},
                           {"memory", module_memory, METH_NOARGS, nullptr},
                           {nullptr, nullptr, 0, nullptr}};

PyMethodDef methods[] = {{"add", front_add, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

PyTypeObject front_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_front", nullptr, -1, functions, nullptr, nullptr, nullptr, nullptr};

} // namespace

PyMODINIT_FUNC PyInit__front() {
  front_type.tp_name = "_front.Front";
  front_type.tp_basicsize = sizeof(Front);
  front_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_HAVE_GC;
  front_type.tp_traverse = front_traverse;
  front_type.tp_clear = front_clear;
  front_type.tp_vectorcall_offset = offsetof(Front, vectorcall);
  front_type.tp_call = PyVectorcall_Call;
  front_type.tp_new = front_new;
  front_type.tp_dealloc = front_dealloc;
  front_type.tp_methods = methods;
  if (PyType_Ready(&front_type) < 0) return nullptr;
  PyObject* made = PyModule_Create(&module);
  if (made == nullptr || PyModule_AddObjectRef(made, "Front", reinterpret_cast<PyObject*>(&front_type)) < 0) return nullptr;
  return made;
}
