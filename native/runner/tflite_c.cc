#include "tflite_c.h"

#include <dlfcn.h>

#include <stdexcept>

namespace tf_prune_ofa::runner {
namespace {

void* Open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return library;
}

template <typename Function>
void Find(void* library, const std::string& path, const char* name, bool is_needed,
          Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr && is_needed) throw std::runtime_error(path + " has no " + name);
}

}  // namespace

TfLiteC LoadTfLite(const std::string& path) {
  void* library = Open(path);
  TfLiteC api = {};
  const auto find = [&](const char* name, auto* function, bool is_needed = true) {
    Find(library, path, name, is_needed, function);
  };
  find("TfLiteVersion", &api.Version);
  find("TfLiteModelCreateFromFile", &api.ModelCreateFromFile);
  find("TfLiteModelDelete", &api.ModelDelete);
  find("TfLiteInterpreterOptionsCreate", &api.OptionsCreate);
  find("TfLiteInterpreterOptionsDelete", &api.OptionsDelete);
  find("TfLiteInterpreterOptionsSetNumThreads", &api.OptionsSetNumThreads);
  find("TfLiteInterpreterOptionsAddDelegate", &api.OptionsAddDelegate);
  find("TfLiteInterpreterOptionsSetErrorReporter", &api.OptionsSetErrorReporter);
  find("TfLiteInterpreterCreate", &api.InterpreterCreate);
  find("TfLiteInterpreterDelete", &api.InterpreterDelete);
  find("TfLiteInterpreterAllocateTensors", &api.AllocateTensors);
  find("TfLiteInterpreterInvoke", &api.Invoke);
  find("TfLiteInterpreterGetInputTensorCount", &api.GetInputTensorCount);
  find("TfLiteInterpreterGetInputTensor", &api.GetInputTensor);
  find("TfLiteInterpreterGetOutputTensorCount", &api.GetOutputTensorCount);
  find("TfLiteInterpreterGetOutputTensor", &api.GetOutputTensor);
  find("TfLiteXNNPackDelegateOptionsDefault", &api.XnnpackOptionsDefault, false);
  find("TfLiteXNNPackDelegateCreate", &api.XnnpackCreate, false);
  find("TfLiteXNNPackDelegateDelete", &api.XnnpackDelete, false);
  return api;
}

DelegateLibrary LoadDelegate(const std::string& path) {
  void* library = Open(path);
  DelegateLibrary functions = {};
  Find(library, path, "tflite_plugin_create_delegate", true, &functions.Create);
  Find(library, path, "tflite_plugin_destroy_delegate", true, &functions.Destroy);
  Find(library, path, "tf_prune_ofa_report", false, &functions.Report);
  Find(library, path, "tf_prune_ofa_unmeasured", false, &functions.Unmeasured);
  Find(library, path, "tf_prune_ofa_processor", false, &functions.Processor);
  return functions;
}

}  // namespace tf_prune_ofa::runner
