#include "model.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "json.h"

namespace tf_prune_ofa::runner {
namespace {

std::string* delegate_error = nullptr;

void KeepError(void* user, const char* format, va_list values) {
  char text[1024];
  std::vsnprintf(text, sizeof text, format, values);
  auto* errors = static_cast<std::string*>(user);
  *errors += (errors->empty() ? "" : " ") + std::string(text);
}

void KeepDelegateError(const char* message) {
  if (delegate_error != nullptr) *delegate_error = message;
}

// A delegate that takes nothing: it is shown the graph after the others had their turn.
TfLiteStatus Count(TfLiteContext* context, TfLiteDelegate* delegate) {
  auto* counts = static_cast<Counts*>(delegate->data_);
  *counts = {};
  TfLiteIntArray* plan = nullptr;
  if (context->GetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteOk;
  for (int i = 0; i < plan->size; ++i) {
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kTfLiteOk) {
      continue;
    }
    ++(node->delegate == nullptr ? counts->left : counts->pieces);
  }
  return kTfLiteOk;
}

const char* TypeName(TfLiteType type) {
  switch (type) {
    case kTfLiteFloat32: return "float32";
    case kTfLiteInt32: return "int32";
    case kTfLiteInt64: return "int64";
    case kTfLiteUInt8: return "uint8";
    case kTfLiteInt16: return "int16";
    case kTfLiteInt8: return "int8";
    default: return "other";
  }
}

}  // namespace

Model::Model(const TfLiteC& api, const DelegateLibrary* delegate, const Job& job, const Row& row)
    : api_(api), library_(delegate) {
  for (int i = 0; i < 2; ++i) {
    counters_[i].data_ = &counts_[i];
    counters_[i].Prepare = Count;
  }
  options_ = api_.OptionsCreate();
  api_.OptionsSetNumThreads(options_, row.threads);
  api_.OptionsSetErrorReporter(options_, KeepError, &errors_);
  if (library_ != nullptr) {
    std::vector<const char*> keys, values;
    for (const Options* options : {&row.options, &job.options}) {
      for (const auto& option : *options) {
        keys.push_back(option.first.c_str());
        values.push_back(option.second.c_str());
      }
    }
    delegate_error = &errors_;
    sparse_ = library_->Create(keys.data(), values.data(), keys.size(), KeepDelegateError);
    delegate_error = nullptr;
    if (sparse_ == nullptr) Fail("the sparse delegate");
    api_.OptionsAddDelegate(options_, sparse_);
  }
  api_.OptionsAddDelegate(options_, &counters_[0]);
  if (api_.XnnpackCreate != nullptr && api_.XnnpackOptionsDefault != nullptr) {
    XnnpackOptions own = api_.XnnpackOptionsDefault();
    own.num_threads = row.threads;
    xnnpack_ = api_.XnnpackCreate(&own);
    if (xnnpack_ != nullptr) api_.OptionsAddDelegate(options_, xnnpack_);
  }
  api_.OptionsAddDelegate(options_, &counters_[1]);
  model_ = api_.ModelCreateFromFile(row.model.c_str());
  if (model_ == nullptr) Fail("the runtime cannot read the file");
  interpreter_ = api_.InterpreterCreate(model_, options_);
  if (interpreter_ == nullptr) Fail("the runtime refuses the file");
  if (api_.AllocateTensors(interpreter_) != kTfLiteOk) Fail("the runtime refuses the file");

  std::ifstream file(row.inputs, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  input_bytes_ = bytes.str();
  size_t size = 0;
  for (int i = 0; i < api_.GetInputTensorCount(interpreter_); ++i) {
    size += api_.GetInputTensor(interpreter_, i)->bytes;
  }
  if (size == 0 || input_bytes_.empty() || input_bytes_.size() % size != 0) {
    Fail("inputs of " + std::to_string(input_bytes_.size()) + " bytes for examples of " +
         std::to_string(size));
  }
  examples_ = static_cast<int>(input_bytes_.size() / size);
  SetExample(0);
}

Model::~Model() { Close(); }

void Model::Close() {
  if (interpreter_ != nullptr) api_.InterpreterDelete(interpreter_);
  if (model_ != nullptr) api_.ModelDelete(model_);
  if (options_ != nullptr) api_.OptionsDelete(options_);
  if (xnnpack_ != nullptr && api_.XnnpackDelete != nullptr) api_.XnnpackDelete(xnnpack_);
  if (sparse_ != nullptr) library_->Destroy(sparse_);
}

void Model::Fail(const std::string& what) {
  const std::string message = errors_.empty() ? what : what + ": " + errors_;
  Close();  // a constructor that throws has no destructor
  throw std::runtime_error(message);
}

void Model::SetExample(int index) {
  const int count = api_.GetInputTensorCount(interpreter_);
  size_t place = input_bytes_.size() / examples_ * index;
  for (int i = 0; i < count; ++i) {
    TfLiteTensor* tensor = api_.GetInputTensor(interpreter_, i);
    std::memcpy(tensor->data.data, input_bytes_.data() + place, tensor->bytes);
    place += tensor->bytes;
  }
}

void Model::Invoke() {
  if (api_.Invoke(interpreter_) != kTfLiteOk) {
    throw std::runtime_error("the runtime fails to run the file: " + errors_);
  }
}

std::string Model::OutputBytes() const {
  std::string bytes;
  for (int i = 0; i < api_.GetOutputTensorCount(interpreter_); ++i) {
    const TfLiteTensor* tensor = api_.GetOutputTensor(interpreter_, i);
    bytes.append(static_cast<const char*>(tensor->data.data), tensor->bytes);
  }
  return bytes;
}

std::string Model::OutputsJson() const {
  std::vector<int> places;
  for (int i = 0; i < api_.GetOutputTensorCount(interpreter_); ++i) places.push_back(i);
  return List(places, [&](int i) {
    const TfLiteTensor* tensor = api_.GetOutputTensor(interpreter_, i);
    const std::vector<int> shape(tensor->dims->data, tensor->dims->data + tensor->dims->size);
    return "{\"name\":" + Quoted(tensor->name == nullptr ? "" : tensor->name) +
           ",\"dtype\":" + Quoted(TypeName(tensor->type)) + ",\"shape\":" + List(shape) + "}";
  });
}

std::string Model::Report() const {
  return sparse_ == nullptr || library_->Report == nullptr ? "" : library_->Report(sparse_);
}

std::string Model::Unmeasured() const {
  return sparse_ == nullptr || library_->Unmeasured == nullptr ? "" : library_->Unmeasured(sparse_);
}

std::string Model::Processor() const {
  return sparse_ == nullptr || library_->Processor == nullptr ? "" : library_->Processor();
}

}  // namespace tf_prune_ofa::runner
