/* The shortest way from a tensor to a kernel and back: what op.py's FlatCall does, without an interpreter in between.
 *
 * Stage: op -> [front] -> kernel. In: one plain, contiguous CPU tensor. Out: a tensor with its node in autograd's graph,
 * or None where anything else may be going on; the caller then takes the general way. Built on request (front.py)
 * against the headers of the torch that is installed, and used by that one alone.
 *
 * The kernels of one activation are given as addresses; nothing here knows what they compute.
 */
#include <Python.h>

#include "recycling.h"

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/TracerMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <array>
#include <memory>
#include <vector>

namespace {

using torch::autograd::SavedVariable;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int kFreshOutput = 1, kDtypes = 3;
constexpr int64_t kSerial = 1 << 15; /* dispatch.SERIAL: below, a second thread costs more than it saves */

using Forward = void (*)(const void*, void*, int64_t, const float*, int, int);
using Backward = void (*)(const void*, const void*, void*, int64_t, const float*, int, int);

struct Kernels {
  Forward forward = nullptr;
  Backward backward = nullptr;
};

/* One activation with numbers as parameters. */
struct Call {
  std::array<Kernels, kDtypes> kernels;
  std::vector<float> values;
  PyObject* gradient = nullptr; /* (x, grad) -> gradient, for everything that is not plain */
  ~Call() {
    /* The last node may go on a thread of autograd, or after the interpreter. */
    if (gradient == nullptr || !Py_IsInitialized()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(gradient);
    PyGILState_Release(state);
  }
};

int dtype_index(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return 0;
    case at::kBFloat16: return 1;
    case at::kHalf: return 2;
    default: return -1;
  }
}

int threads_for(int64_t count) {
  if (count < kSerial) return 1;
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), count / (kSerial / 2))));
}

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

at::Tensor fresh_like(const at::Tensor& x) {
  auto& recycler = actium::Recycler::instance();
  if (!recycler.takes(x.nbytes()))
    return at::Tensor(at::detail::empty_strided_cpu(x.sizes(), x.strides(), x.scalar_type(), false));
  constexpr c10::DispatchKeySet keys(c10::DispatchKey::CPU);
  return at::Tensor(at::detail::empty_strided_generic(x.sizes(), x.strides(), &recycler, keys, x.scalar_type()));
}

/* What is recycled has its huge pages already. */
int flags_for(const at::Tensor& x) {
  return actium::Recycler::instance().takes(x.nbytes()) ? 0 : kFreshOutput;
}

struct ActiumBackward : public torch::autograd::Node {
  SavedVariable saved;
  std::shared_ptr<Call> call;

  variable_list apply(variable_list&& grads) override {
    std::lock_guard<std::mutex> lock(mutex_);
    const at::Tensor& grad = grads[0];
    if (!grad.defined() || !task_should_compute_output(0)) return {Variable()};
    const at::Tensor x = saved.unpack();
    const int index = dtype_index(x.scalar_type());
    const bool same = grad.scalar_type() == x.scalar_type() && grad.sizes() == x.sizes();
    if (at::GradMode::is_enabled() || !same || !is_plain(grad) || !is_plain(x) || !is_quiet()) return {general(x, grad)};
    at::Tensor result = fresh_like(x);
    const int64_t count = x.numel();
    call->kernels[index].backward(x.const_data_ptr(), grad.const_data_ptr(), result.data_ptr(), count,
                                  call->values.data(), threads_for(count), flags_for(x));
    return {result};
  }

  Variable general(const at::Tensor& x, const at::Tensor& grad) {
    PyGILState_STATE state = PyGILState_Ensure();
    Variable result;
    PyObject* first = THPVariable_Wrap(x);
    PyObject* second = THPVariable_Wrap(grad);
    PyObject* made = first && second && call->gradient ? PyObject_CallFunctionObjArgs(call->gradient, first, second, nullptr) : nullptr;
    Py_XDECREF(first);
    Py_XDECREF(second);
    const bool good = made != nullptr && THPVariable_Check(made);
    if (good) result = THPVariable_Unpack(made);
    Py_XDECREF(made);
    if (!good) {
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
    saved.reset_data();
  }

  std::string name() const override { return "ActiumBackward"; }
};

struct Front {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  std::shared_ptr<Call>* call;
};

at::Tensor run(const Front* self, const at::Tensor& x, const Kernels& kernels) {
  const int64_t count = x.numel();
  at::Tensor y = fresh_like(x);
  if (count < kSerial) {
    kernels.forward(x.const_data_ptr(), y.data_ptr(), count, (*self->call)->values.data(), 1, kFreshOutput);
  } else {
    PyThreadState* state = PyEval_SaveThread();
    kernels.forward(x.const_data_ptr(), y.data_ptr(), count, (*self->call)->values.data(), threads_for(count),
                    flags_for(x));
    PyEval_RestoreThread(state);
  }
  if (at::GradMode::is_enabled() && x.requires_grad()) {
    auto node = c10::make_intrusive<ActiumBackward>();
    node->set_next_edges(torch::autograd::collect_next_edges(x));
    node->call = *self->call;
    node->saved = SavedVariable(x, false);
    torch::autograd::set_history(y, node);
  }
  return y;
}

PyObject* front_call(PyObject* object, PyObject* const* args, size_t nargsf, PyObject* names) {
  const Front* self = reinterpret_cast<Front*>(object);
  if (PyVectorcall_NARGS(nargsf) != 1 || names != nullptr) {
    PyErr_SetString(PyExc_TypeError, "takes one tensor");
    return nullptr;
  }
  if (!THPVariable_CheckExact(args[0])) Py_RETURN_NONE;
  try {
    const at::Tensor& x = THPVariable_Unpack(args[0]);
    const int index = dtype_index(x.scalar_type());
    if (index < 0 || !(*self->call)->kernels[index].forward || !is_plain(x) || !is_quiet()) Py_RETURN_NONE;
    return THPVariable_Wrap(run(self, x, (*self->call)->kernels[index]));
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
  kernels.forward = reinterpret_cast<Forward>(forward);
  kernels.backward = reinterpret_cast<Backward>(backward);
  Py_RETURN_NONE;
}

/* Front(values, gradient) */
PyObject* front_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *values = nullptr, *gradient = nullptr;
  if (!PyArg_ParseTuple(args, "O!O", &PyTuple_Type, &values, &gradient)) return nullptr;
  Front* self = reinterpret_cast<Front*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->vectorcall = front_call;
  self->call = new std::shared_ptr<Call>(std::make_shared<Call>());
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
