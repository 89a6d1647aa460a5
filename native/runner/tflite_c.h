// TFLite's C interface, loaded from a library that is named when the program runs.
//
// One runner serves every runtime that has the interface: libtensorflowlite_c.so on Linux,
// libtensorflowlite_jni.so of the Android packages (2.9 to 2.17 and LiteRT 1.x). Nothing is linked.
// Declared after tensorflow/lite/c/c_api.h and delegates/xnnpack/xnnpack_delegate.h, version 2.17.
#ifndef TF_PRUNE_OFA_RUNNER_TFLITE_C_H_
#define TF_PRUNE_OFA_RUNNER_TFLITE_C_H_

#include <cstdarg>
#include <string>

#include "tf_prune_ofa/tflite_abi.h"

extern "C" {
struct TfLiteModel;
struct TfLiteInterpreterOptions;
struct TfLiteInterpreter;
}

namespace tf_prune_ofa::runner {

// The library returns its own struct by value through a pointer to space that the caller gives:
// more than any version has fields for. Only the first field is ours to set.
struct XnnpackOptions {
  int32_t num_threads;
  char others[508];
};

struct TfLiteC {
  const char* (*Version)();
  TfLiteModel* (*ModelCreateFromFile)(const char* path);
  void (*ModelDelete)(TfLiteModel* model);
  TfLiteInterpreterOptions* (*OptionsCreate)();
  void (*OptionsDelete)(TfLiteInterpreterOptions* options);
  void (*OptionsSetNumThreads)(TfLiteInterpreterOptions* options, int32_t threads);
  void (*OptionsAddDelegate)(TfLiteInterpreterOptions* options, TfLiteDelegate* delegate);
  void (*OptionsSetErrorReporter)(TfLiteInterpreterOptions* options,
                                  void (*report)(void* user, const char* format, va_list values),
                                  void* user);
  TfLiteInterpreter* (*InterpreterCreate)(const TfLiteModel* model,
                                          const TfLiteInterpreterOptions* options);
  void (*InterpreterDelete)(TfLiteInterpreter* interpreter);
  TfLiteStatus (*AllocateTensors)(TfLiteInterpreter* interpreter);
  TfLiteStatus (*Invoke)(TfLiteInterpreter* interpreter);
  int32_t (*GetInputTensorCount)(const TfLiteInterpreter* interpreter);
  TfLiteTensor* (*GetInputTensor)(const TfLiteInterpreter* interpreter, int32_t index);
  int32_t (*GetOutputTensorCount)(const TfLiteInterpreter* interpreter);
  const TfLiteTensor* (*GetOutputTensor)(const TfLiteInterpreter* interpreter, int32_t index);
  // Of libraries with XNNPACK; else null.
  XnnpackOptions (*XnnpackOptionsDefault)();
  TfLiteDelegate* (*XnnpackCreate)(const XnnpackOptions* options);
  void (*XnnpackDelete)(TfLiteDelegate* delegate);
};

// Loads the library; throws std::runtime_error with what is wrong with it.
TfLiteC LoadTfLite(const std::string& path);

// The functions of an external delegate.
struct DelegateLibrary {
  TfLiteDelegate* (*Create)(const char* const* keys, const char* const* values, size_t count,
                            void (*report_error)(const char*));
  void (*Destroy)(TfLiteDelegate* delegate);
  // Null in other libraries than ours.
  const char* (*Report)(const TfLiteDelegate* delegate);
  const char* (*Unmeasured)(const TfLiteDelegate* delegate);
  const char* (*Processor)();
};

DelegateLibrary LoadDelegate(const std::string& path);

}  // namespace tf_prune_ofa::runner

#endif  // TF_PRUNE_OFA_RUNNER_TFLITE_C_H_
