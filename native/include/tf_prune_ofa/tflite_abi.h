// The part of TFLite's C ABI that an external delegate needs, declared by ourselves.
//
// A delegate is a shared library that the host runtime loads; they meet only in the structs and
// function pointers below, no TFLite symbol is linked. Type and field names are TFLite's, so that
// its documentation applies.
//
// Source: google-ai-edge/LiteRT, commit 01d971c556e3, tflite/core/c/common.h,
// tflite/converter/core/c/tflite_types.h and builtin_op_data.h, tflite/builtin_ops.h. Compared with
// tensorflow/tensorflow, tensorflow/lite/core/c/{common,builtin_op_data}.h, as of mid-2023, and
// checked by a delegate that reads every field used here, in the hosts served: tflite-runtime
// 2.14.0, ai-edge-litert 1.0.1, 1.4.0, 2.1.6 and 2.3.0. In 2.14.0, the oldest, the machine code
// steps by 112 bytes for a TfLiteTensor, and by 80 + 88 for a TfLiteNode and its
// TfLiteRegistration, the sizes below.
//
// Upstream adds fields only at the end of a struct. What differs between the hosts:
//
// - TfLiteFullyConnectedParams and TfLiteConvParams grew by quantized_bias_type (after 2.14), then
//   FullyConnected by quant_spec (version 15 of the operator). Only what all hosts have is here.
// - TfLiteType grew (BFLOAT16 after 2.14, INT2, UINT4, FLOAT8), TfLiteAllocationType (VariantObject,
//   NonCpu) and TfLiteQuantizationType (Blockwise). Enums have a fixed underlying type here, so that
//   a value we do not know is a value and not undefined behaviour.
// - ai-edge-litert 1.4.0 gives one zero point where a tensor has several that are equal.
// - TfLiteRegistration is passed by value: in memory on x86-64, by reference on aarch64, so that a
//   host which knows fewer fields, or more, would do no harm with one that is zeroed throughout.
//
// 64-bit hosts only (x86-64, aarch64: same layout, asserted at the end). Not for a translation unit
// that includes TFLite's own headers.

#ifndef TF_PRUNE_OFA_TFLITE_ABI_H_
#define TF_PRUNE_OFA_TFLITE_ABI_H_

#ifdef TENSORFLOW_LITE_CORE_C_COMMON_H_
#error "Include either TFLite's headers or tf_prune_ofa/tflite_abi.h, not both."
#endif

#include <cstddef>
#include <cstdint>

extern "C" {

enum TfLiteStatus : int {
  kTfLiteOk = 0,
  kTfLiteError = 1,
  kTfLiteDelegateError = 2,
};

enum TfLiteType : int {
  kTfLiteNoType = 0,
  kTfLiteFloat32 = 1,
  kTfLiteInt32 = 2,
  kTfLiteUInt8 = 3,
  kTfLiteInt64 = 4,
  kTfLiteInt16 = 7,
  kTfLiteInt8 = 9,
  kTfLiteFloat16 = 10,
  kTfLiteInt4 = 18,
};

enum TfLiteAllocationType : int {
  kTfLiteMemNone = 0,
  kTfLiteMmapRo = 1,  // constant: lies in the file, or given with it
  kTfLiteArenaRw = 2,
  kTfLiteArenaRwPersistent = 3,
  kTfLiteDynamic = 4,       // allocated while the graph runs; shape unknown before
  kTfLitePersistentRo = 5,  // constant from the end of its operator's prepare on
  kTfLiteCustom = 6,
};

enum TfLiteQuantizationType : int {
  kTfLiteNoQuantization = 0,
  kTfLiteAffineQuantization = 1,
};

enum TfLiteDimensionType : int {
  kTfLiteDimDense = 0,
  kTfLiteDimSparseCSR = 1,
};

enum TfLiteFusedActivation : int {
  kTfLiteActNone = 0,
  kTfLiteActRelu = 1,
  kTfLiteActReluN1To1 = 2,  // [-1, 1]
  kTfLiteActRelu6 = 3,      // [0, 6]
  kTfLiteActTanh = 4,
  kTfLiteActSignBit = 5,
  kTfLiteActSigmoid = 6,
};

enum TfLitePadding : int {
  kTfLitePaddingUnknown = 0,
  kTfLitePaddingSame = 1,
  kTfLitePaddingValid = 2,
};

enum TfLiteFullyConnectedWeightsFormat : int {
  kTfLiteFullyConnectedWeightsFormatDefault = 0,
  kTfLiteFullyConnectedWeightsFormatShuffled4x16Int8 = 1,
};

enum TfLiteDelegateFlags : int64_t {
  kTfLiteDelegateFlagsNone = 0,
  kTfLiteDelegateFlagsAllowDynamicTensors = 1,
  kTfLiteDelegateFlagsRequirePropagatedShapes = 2,
  kTfLiteDelegateFlagsPerOperatorProfiling = 4,
};

// Values of TfLiteRegistration::builtin_code.
enum TfLiteBuiltinOperator : int32_t {
  kTfLiteBuiltinAdd = 0,
  kTfLiteBuiltinConv2d = 3,
  kTfLiteBuiltinDequantize = 6,
  kTfLiteBuiltinFullyConnected = 9,
  kTfLiteBuiltinMul = 18,
  kTfLiteBuiltinReshape = 22,
  kTfLiteBuiltinSoftmax = 25,
  kTfLiteBuiltinCustom = 32,
  kTfLiteBuiltinTranspose = 39,
  kTfLiteBuiltinMean = 40,
  kTfLiteBuiltinSub = 41,
  kTfLiteBuiltinStridedSlice = 45,
  kTfLiteBuiltinDelegate = 51,
  kTfLiteBuiltinRsqrt = 76,
  kTfLiteBuiltinSquaredDifference = 99,
  kTfLiteBuiltinQuantize = 114,
  kTfLiteBuiltinDensify = 124,
  kTfLiteBuiltinBatchMatmul = 126,
  kTfLiteBuiltinGelu = 150,
};

// An input index of a node that stands for "not given" (a layer without a bias).
constexpr int kTfLiteOptionalTensor = -1;

constexpr int kTfLiteNullBufferHandle = -1;

using TfLiteBufferHandle = int;

struct TfLiteContext;
struct TfLiteDelegate;
struct TfLiteNode;
struct TfLiteRegistration;
struct TfLiteTensor;

// Flexible array members are C's; GCC and Clang know them in C++.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

// `size` integers follow: tensor indices, or the lengths of a shape.
struct TfLiteIntArray {
  int size;
  int data[];
};

struct TfLiteFloatArray {
  int size;
  float data[];
};

#pragma GCC diagnostic pop

// One scale for the whole tensor; zero (scale 0) where there are several, or none.
struct TfLiteQuantizationParams {
  float scale;
  int32_t zero_point;
};

struct TfLiteQuantization {
  TfLiteQuantizationType type;
  void* params;  // TfLiteAffineQuantization where type says so
};

struct TfLiteAffineQuantization {
  TfLiteFloatArray* scale;  // 1, or one for each index of quantized_dimension
  TfLiteIntArray* zero_point;  // likewise, or 1 for all
  int32_t quantized_dimension;
};

struct TfLiteDimensionMetadata {
  TfLiteDimensionType format;
  int dense_size;  // where format is dense
  TfLiteIntArray* array_segments;
  TfLiteIntArray* array_indices;
};

struct TfLiteSparsity {
  TfLiteIntArray* traversal_order;
  TfLiteIntArray* block_map;
  TfLiteDimensionMetadata* dim_metadata;
  int dim_metadata_size;
};

struct TfLiteTensor {
  TfLiteType type;
  union {
    void* data;
    int8_t* int8;
    int32_t* i32;
    float* f;
  } data;
  TfLiteIntArray* dims;
  TfLiteQuantizationParams params;
  TfLiteAllocationType allocation_type;
  size_t bytes;  // of data; compressed bytes where sparsity is set
  const void* allocation;
  const char* name;
  TfLiteDelegate* delegate;
  TfLiteBufferHandle buffer_handle;
  bool data_is_stale;
  bool is_variable;
  TfLiteQuantization quantization;
  TfLiteSparsity* sparsity;              // null: data is dense
  const TfLiteIntArray* dims_signature;  // null or empty: dims holds; else -1 stands for "any"
};

struct TfLiteNode {
  TfLiteIntArray* inputs;
  TfLiteIntArray* outputs;
  TfLiteIntArray* intermediates;
  TfLiteIntArray* temporaries;
  void* user_data;     // what TfLiteRegistration::init returned
  void* builtin_data;  // the operator's parameters
  const void* custom_initial_data;
  int custom_initial_data_size;
  TfLiteDelegate* delegate;  // null but for nodes that stand for delegated ones
  bool might_have_side_effect;
};

// What TfLiteRegistration::init of a delegate's kernel is given as `buffer`.
struct TfLiteDelegateParams {
  TfLiteDelegate* delegate;
  TfLiteIntArray* nodes_to_replace;
  TfLiteIntArray* input_tensors;
  TfLiteIntArray* output_tensors;
};

struct TfLiteRegistration {
  void* (*init)(TfLiteContext* context, const char* buffer, size_t length);
  void (*free)(TfLiteContext* context, void* user_data);
  TfLiteStatus (*prepare)(TfLiteContext* context, TfLiteNode* node);
  TfLiteStatus (*invoke)(TfLiteContext* context, TfLiteNode* node);
  const char* (*profiling_string)(const TfLiteContext* context, const TfLiteNode* node);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
};

// Members that we do not call are of this type, for their place only.
using TfLiteUnusedFunction = void (*)();

struct TfLiteContext {
  size_t tensors_size;
  // The plan belongs to the host and holds until the next call.
  TfLiteStatus (*GetExecutionPlan)(TfLiteContext* context, TfLiteIntArray** execution_plan);
  TfLiteTensor* tensors;
  void* impl_;
  // Takes new_size, allocated with malloc.
  TfLiteStatus (*ResizeTensor)(TfLiteContext* context, TfLiteTensor* tensor,
                               TfLiteIntArray* new_size);
  void (*ReportError)(TfLiteContext* context, const char* format, ...);
  TfLiteStatus (*AddTensors)(TfLiteContext* context, int tensors_to_add,
                             int* first_new_tensor_index);
  TfLiteStatus (*GetNodeAndRegistration)(TfLiteContext* context, int node_index, TfLiteNode** node,
                                         TfLiteRegistration** registration);
  // Does not take nodes_to_replace.
  TfLiteStatus (*ReplaceNodeSubsetsWithDelegateKernels)(TfLiteContext* context,
                                                        TfLiteRegistration registration,
                                                        const TfLiteIntArray* nodes_to_replace,
                                                        TfLiteDelegate* delegate);
  int recommended_num_threads;  // -1: the host leaves it open
  TfLiteUnusedFunction GetExternalContext;
  TfLiteUnusedFunction SetExternalContext;
  bool allow_fp32_relax_to_fp16;
  void* profiler;
  void* (*AllocatePersistentBuffer)(TfLiteContext* context, size_t bytes);
  TfLiteUnusedFunction AllocateBufferForEval;
  TfLiteStatus (*RequestScratchBufferInArena)(TfLiteContext* context, size_t bytes,
                                              int* buffer_index);
  void* (*GetScratchBuffer)(TfLiteContext* context, int buffer_index);
  TfLiteStatus (*ResizeTensorExplicit)(TfLiteContext* context, TfLiteTensor* tensor, int dims,
                                       const int* shape);
  TfLiteStatus (*PreviewDelegatePartitioning)(TfLiteContext* context,
                                              const TfLiteIntArray* nodes_to_replace,
                                              TfLiteDelegateParams** partition_params_array,
                                              int* num_partitions);
  TfLiteUnusedFunction GetTensor;      // null in all hosts served: use tensors[i]
  TfLiteUnusedFunction GetEvalTensor;  // likewise
  TfLiteStatus (*GetModelMetadata)(const TfLiteContext* context, const char* name,
                                   const char** data, size_t* bytes);
  TfLiteUnusedFunction AcquireSubgraphContext;
  TfLiteUnusedFunction ReleaseSubgraphContext;
};

struct TfLiteDelegate {
  void* data_;  // the delegate's own
  TfLiteStatus (*Prepare)(TfLiteContext* context, TfLiteDelegate* delegate);
  TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate,
                                       TfLiteBufferHandle buffer_handle, TfLiteTensor* tensor);
  TfLiteStatus (*CopyToBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate,
                                     TfLiteBufferHandle buffer_handle, TfLiteTensor* tensor);
  void (*FreeBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate,
                           TfLiteBufferHandle* handle);
  int64_t flags;                  // TfLiteDelegateFlags, or-ed
  void* opaque_delegate_builder;  // null: the functions above are used
};

// TfLiteNode::builtin_data of FULLY_CONNECTED.
struct TfLiteFullyConnectedParams {
  TfLiteFusedActivation activation;
  TfLiteFullyConnectedWeightsFormat weights_format;
  bool keep_num_dims;  // the output has the input's shape but for the last length
  bool asymmetric_quantize_inputs;
};

// TfLiteNode::builtin_data of CONV_2D.
struct TfLiteConvParams {
  TfLitePadding padding;
  int stride_width;
  int stride_height;
  TfLiteFusedActivation activation;
  int dilation_width_factor;
  int dilation_height_factor;
};

// Of ADD, SUB and MUL, whose structs all begin with it; what follows does not concern float numbers.
struct TfLiteBinaryParams {
  TfLiteFusedActivation activation;
};

struct TfLiteSoftmaxParams {
  float beta;
};

// Of MEAN.
struct TfLiteReducerParams {
  bool keep_dims;
};

struct TfLiteBatchMatMulParams {
  bool adj_x;
  bool adj_y;
};

struct TfLiteGeluParams {
  bool approximate;
};

struct TfLiteStridedSliceParams {
  int begin_mask;
  int end_mask;
  int ellipsis_mask;
  int new_axis_mask;
  int shrink_axis_mask;
};

}  // extern "C"

static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 && sizeof(int) == 4 && sizeof(bool) == 1,
              "64-bit hosts only");

// Where each field lies, and how long each struct is, in bytes.
#define TF_PRUNE_OFA_AT(type, field, offset) \
  static_assert(offsetof(type, field) == (offset), #type "::" #field)
#define TF_PRUNE_OFA_SIZE(type, size) static_assert(sizeof(type) == (size), #type)

TF_PRUNE_OFA_AT(TfLiteIntArray, data, 4);
TF_PRUNE_OFA_SIZE(TfLiteIntArray, 4);
TF_PRUNE_OFA_AT(TfLiteFloatArray, data, 4);
TF_PRUNE_OFA_SIZE(TfLiteFloatArray, 4);

TF_PRUNE_OFA_AT(TfLiteQuantizationParams, zero_point, 4);
TF_PRUNE_OFA_SIZE(TfLiteQuantizationParams, 8);
TF_PRUNE_OFA_AT(TfLiteQuantization, params, 8);
TF_PRUNE_OFA_SIZE(TfLiteQuantization, 16);
TF_PRUNE_OFA_AT(TfLiteAffineQuantization, zero_point, 8);
TF_PRUNE_OFA_AT(TfLiteAffineQuantization, quantized_dimension, 16);
TF_PRUNE_OFA_SIZE(TfLiteAffineQuantization, 24);

TF_PRUNE_OFA_AT(TfLiteDimensionMetadata, dense_size, 4);
TF_PRUNE_OFA_AT(TfLiteDimensionMetadata, array_segments, 8);
TF_PRUNE_OFA_AT(TfLiteDimensionMetadata, array_indices, 16);
TF_PRUNE_OFA_SIZE(TfLiteDimensionMetadata, 24);
TF_PRUNE_OFA_AT(TfLiteSparsity, block_map, 8);
TF_PRUNE_OFA_AT(TfLiteSparsity, dim_metadata, 16);
TF_PRUNE_OFA_AT(TfLiteSparsity, dim_metadata_size, 24);
TF_PRUNE_OFA_SIZE(TfLiteSparsity, 32);

TF_PRUNE_OFA_AT(TfLiteTensor, data, 8);
TF_PRUNE_OFA_AT(TfLiteTensor, dims, 16);
TF_PRUNE_OFA_AT(TfLiteTensor, params, 24);
TF_PRUNE_OFA_AT(TfLiteTensor, allocation_type, 32);
TF_PRUNE_OFA_AT(TfLiteTensor, bytes, 40);
TF_PRUNE_OFA_AT(TfLiteTensor, allocation, 48);
TF_PRUNE_OFA_AT(TfLiteTensor, name, 56);
TF_PRUNE_OFA_AT(TfLiteTensor, delegate, 64);
TF_PRUNE_OFA_AT(TfLiteTensor, buffer_handle, 72);
TF_PRUNE_OFA_AT(TfLiteTensor, data_is_stale, 76);
TF_PRUNE_OFA_AT(TfLiteTensor, is_variable, 77);
TF_PRUNE_OFA_AT(TfLiteTensor, quantization, 80);
TF_PRUNE_OFA_AT(TfLiteTensor, sparsity, 96);
TF_PRUNE_OFA_AT(TfLiteTensor, dims_signature, 104);
TF_PRUNE_OFA_SIZE(TfLiteTensor, 112);

TF_PRUNE_OFA_AT(TfLiteNode, outputs, 8);
TF_PRUNE_OFA_AT(TfLiteNode, intermediates, 16);
TF_PRUNE_OFA_AT(TfLiteNode, temporaries, 24);
TF_PRUNE_OFA_AT(TfLiteNode, user_data, 32);
TF_PRUNE_OFA_AT(TfLiteNode, builtin_data, 40);
TF_PRUNE_OFA_AT(TfLiteNode, custom_initial_data, 48);
TF_PRUNE_OFA_AT(TfLiteNode, custom_initial_data_size, 56);
TF_PRUNE_OFA_AT(TfLiteNode, delegate, 64);
TF_PRUNE_OFA_AT(TfLiteNode, might_have_side_effect, 72);
TF_PRUNE_OFA_SIZE(TfLiteNode, 80);

TF_PRUNE_OFA_AT(TfLiteDelegateParams, nodes_to_replace, 8);
TF_PRUNE_OFA_AT(TfLiteDelegateParams, input_tensors, 16);
TF_PRUNE_OFA_AT(TfLiteDelegateParams, output_tensors, 24);
TF_PRUNE_OFA_SIZE(TfLiteDelegateParams, 32);

TF_PRUNE_OFA_AT(TfLiteRegistration, free, 8);
TF_PRUNE_OFA_AT(TfLiteRegistration, prepare, 16);
TF_PRUNE_OFA_AT(TfLiteRegistration, invoke, 24);
TF_PRUNE_OFA_AT(TfLiteRegistration, profiling_string, 32);
TF_PRUNE_OFA_AT(TfLiteRegistration, builtin_code, 40);
TF_PRUNE_OFA_AT(TfLiteRegistration, custom_name, 48);
TF_PRUNE_OFA_AT(TfLiteRegistration, version, 56);
TF_PRUNE_OFA_AT(TfLiteRegistration, registration_external, 64);
TF_PRUNE_OFA_AT(TfLiteRegistration, async_kernel, 72);
TF_PRUNE_OFA_AT(TfLiteRegistration, inplace_operator, 80);
TF_PRUNE_OFA_SIZE(TfLiteRegistration, 88);

TF_PRUNE_OFA_AT(TfLiteContext, GetExecutionPlan, 8);
TF_PRUNE_OFA_AT(TfLiteContext, tensors, 16);
TF_PRUNE_OFA_AT(TfLiteContext, ResizeTensor, 32);
TF_PRUNE_OFA_AT(TfLiteContext, ReportError, 40);
TF_PRUNE_OFA_AT(TfLiteContext, AddTensors, 48);
TF_PRUNE_OFA_AT(TfLiteContext, GetNodeAndRegistration, 56);
TF_PRUNE_OFA_AT(TfLiteContext, ReplaceNodeSubsetsWithDelegateKernels, 64);
TF_PRUNE_OFA_AT(TfLiteContext, recommended_num_threads, 72);
TF_PRUNE_OFA_AT(TfLiteContext, allow_fp32_relax_to_fp16, 96);
TF_PRUNE_OFA_AT(TfLiteContext, profiler, 104);
TF_PRUNE_OFA_AT(TfLiteContext, AllocatePersistentBuffer, 112);
TF_PRUNE_OFA_AT(TfLiteContext, RequestScratchBufferInArena, 128);
TF_PRUNE_OFA_AT(TfLiteContext, GetScratchBuffer, 136);
TF_PRUNE_OFA_AT(TfLiteContext, ResizeTensorExplicit, 144);
TF_PRUNE_OFA_AT(TfLiteContext, PreviewDelegatePartitioning, 152);
TF_PRUNE_OFA_AT(TfLiteContext, GetTensor, 160);
TF_PRUNE_OFA_AT(TfLiteContext, GetModelMetadata, 176);
TF_PRUNE_OFA_SIZE(TfLiteContext, 200);

TF_PRUNE_OFA_AT(TfLiteDelegate, Prepare, 8);
TF_PRUNE_OFA_AT(TfLiteDelegate, CopyFromBufferHandle, 16);
TF_PRUNE_OFA_AT(TfLiteDelegate, CopyToBufferHandle, 24);
TF_PRUNE_OFA_AT(TfLiteDelegate, FreeBufferHandle, 32);
TF_PRUNE_OFA_AT(TfLiteDelegate, flags, 40);
TF_PRUNE_OFA_AT(TfLiteDelegate, opaque_delegate_builder, 48);
TF_PRUNE_OFA_SIZE(TfLiteDelegate, 56);

TF_PRUNE_OFA_AT(TfLiteFullyConnectedParams, weights_format, 4);
TF_PRUNE_OFA_AT(TfLiteFullyConnectedParams, keep_num_dims, 8);
TF_PRUNE_OFA_AT(TfLiteFullyConnectedParams, asymmetric_quantize_inputs, 9);
TF_PRUNE_OFA_AT(TfLiteConvParams, activation, 12);
TF_PRUNE_OFA_AT(TfLiteConvParams, dilation_height_factor, 20);

#undef TF_PRUNE_OFA_AT
#undef TF_PRUNE_OFA_SIZE

#endif  // TF_PRUNE_OFA_TFLITE_ABI_H_
