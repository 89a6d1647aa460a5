#include "sparse_tensor.h"

#include <cstring>

namespace tf_prune_ofa {
namespace {

constexpr int64_t kLargest = int64_t{1} << 28;

bool IsOneOfEach(const TfLiteIntArray& order, int count) {
  std::vector<bool> seen(count, false);
  for (int i = 0; i < count; ++i) {
    const int dimension = order.data[i];
    if (dimension < 0 || dimension >= count || seen[dimension]) return false;
    seen[dimension] = true;
  }
  return true;
}

// Walks the encoding: dimensions in traversal order, the blocks' own dimensions last.
class Decoder {
 public:
  Decoder(const TfLiteTensor& tensor, std::vector<int8_t>* dense)
      : tensor_(tensor), sparsity_(*tensor.sparsity), dense_(dense) {}

  bool Run(std::string* reason) {
    *reason = Check();
    if (!reason->empty()) return false;
    dense_->assign(NumElements(tensor_.dims), 0);
    index_.assign(sparsity_.dim_metadata_size, 0);
    if (!Walk(0, 0)) {
      *reason = "its segments, indices and values do not fit together";
      return false;
    }
    return true;
  }

 private:
  std::string Check() {
    const int rank = tensor_.dims->size;
    const int levels = sparsity_.dim_metadata_size;
    const int blocks = sparsity_.block_map == nullptr ? 0 : sparsity_.block_map->size;
    if (rank < 1 || rank > 8 || blocks < 0 || blocks > rank || levels != rank + blocks) {
      return "its sparsity has the wrong number of dimensions";
    }
    if (sparsity_.dim_metadata == nullptr || sparsity_.traversal_order == nullptr ||
        sparsity_.traversal_order->size != levels ||
        !IsOneOfEach(*sparsity_.traversal_order, levels)) {
      return "its traversal order is malformed";
    }
    block_size_.assign(rank, 1);
    for (int b = 0; b < blocks; ++b) {
      const int dimension = sparsity_.block_map->data[b];
      if (dimension < 0 || dimension >= rank) return "its block map is malformed";
      // A block's dimension is dense: its level says how long it is.
      const int level = LevelOf(rank + b);
      const TfLiteDimensionMetadata& metadata = sparsity_.dim_metadata[level];
      const int size = metadata.dense_size;
      if (metadata.format != kTfLiteDimDense || size < 1 || block_size_[dimension] != 1 ||
          tensor_.dims->data[dimension] % size != 0) {
        return "its blocks do not fit the shape";
      }
      block_size_[dimension] = size;
    }
    length_.resize(levels);
    for (int level = 0; level < levels; ++level) {
      const int dimension = sparsity_.traversal_order->data[level];
      length_[level] = dimension < rank
                           ? tensor_.dims->data[dimension] / block_size_[dimension]
                           : block_size_[sparsity_.block_map->data[dimension - rank]];
      const TfLiteDimensionMetadata& metadata = sparsity_.dim_metadata[level];
      if (metadata.format == kTfLiteDimDense) {
        if (metadata.dense_size != length_[level]) return "a dense dimension does not fit the shape";
      } else if (metadata.format != kTfLiteDimSparseCSR || metadata.array_segments == nullptr ||
                 metadata.array_indices == nullptr) {
        return "a sparse dimension is malformed";
      }
    }
    return "";
  }

  int LevelOf(int dimension) const {
    int level = 0;
    while (sparsity_.traversal_order->data[level] != dimension) ++level;
    return level;
  }

  // `position` counts what is stored at this level, as the file's format does.
  bool Walk(int level, int64_t position) {
    if (level == sparsity_.dim_metadata_size) {
      if (position >= static_cast<int64_t>(tensor_.bytes)) return false;
      (*dense_)[DensePlace()] = tensor_.data.int8[position];
      return true;
    }
    const TfLiteDimensionMetadata& metadata = sparsity_.dim_metadata[level];
    if (metadata.format == kTfLiteDimDense) {
      for (int i = 0; i < length_[level]; ++i) {
        index_[level] = i;
        if (!Walk(level + 1, position * length_[level] + i)) return false;
      }
      return true;
    }
    const TfLiteIntArray& segments = *metadata.array_segments;
    const TfLiteIntArray& indices = *metadata.array_indices;
    if (position + 1 >= segments.size) return false;
    const int begin = segments.data[position], end = segments.data[position + 1];
    if (begin < 0 || end < begin || end > indices.size) return false;
    int before = -1;
    for (int i = begin; i < end; ++i) {
      // Ascending, which also bounds the work by the number of elements.
      if (indices.data[i] <= before || indices.data[i] >= length_[level]) return false;
      before = index_[level] = indices.data[i];
      if (!Walk(level + 1, i)) return false;
    }
    return true;
  }

  int64_t DensePlace() const {
    const int rank = tensor_.dims->size;
    int64_t at[8] = {};
    for (int level = 0; level < sparsity_.dim_metadata_size; ++level) {
      const int dimension = sparsity_.traversal_order->data[level];
      if (dimension < rank) {
        at[dimension] += int64_t{index_[level]} * block_size_[dimension];
      } else {
        at[sparsity_.block_map->data[dimension - rank]] += index_[level];
      }
    }
    int64_t place = 0;
    for (int d = 0; d < rank; ++d) place = place * tensor_.dims->data[d] + at[d];
    return place;
  }

  const TfLiteTensor& tensor_;
  const TfLiteSparsity& sparsity_;
  std::vector<int8_t>* dense_;
  std::vector<int> block_size_;  // by dimension of the tensor
  std::vector<int> length_;      // by level
  std::vector<int> index_;       // by level, where the walk is
};

}  // namespace

int64_t NumElements(const TfLiteIntArray* shape) {
  if (shape == nullptr) return -1;
  int64_t count = 1;
  for (int i = 0; i < shape->size; ++i) {
    if (shape->data[i] < 0) return -1;
    count *= shape->data[i];
    if (count > kLargest) return -1;
  }
  return count;
}

bool DenseValues(const TfLiteTensor& tensor, std::vector<int8_t>* dense, std::string* reason) {
  const int64_t count = NumElements(tensor.dims);
  if (tensor.type != kTfLiteInt8 || tensor.allocation_type != kTfLiteMmapRo ||
      tensor.data.int8 == nullptr || count < 1) {
    *reason = "the weights are not constant INT8";
    return false;
  }
  if (tensor.sparsity != nullptr) return Decoder(tensor, dense).Run(reason);
  if (tensor.bytes != static_cast<size_t>(count)) {
    *reason = "the weights do not have as many bytes as their shape says";
    return false;
  }
  dense->assign(tensor.data.int8, tensor.data.int8 + count);
  return true;
}

}  // namespace tf_prune_ofa
