// Which operators between the layers of an encoder the delegate takes.
#ifndef TF_PRUNE_OFA_CLAIM_FUSIONS_H_
#define TF_PRUNE_OFA_CLAIM_FUSIONS_H_

#include "claim.h"
#include "graph.h"

namespace tf_prune_ofa {

// Adds fusions that stand beside claimed layers, if the host can say how it would part the graph.
void ClaimFusions(TfLiteContext* context, const Graph& graph, const ClaimSettings& settings,
                  Claims* claims);

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_CLAIM_FUSIONS_H_
