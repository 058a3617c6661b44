/// The law of a placement, resolved once and asked for many windows. Inside of the planner.
#ifndef HSDI_TOPOLOGY_LAW_H
#define HSDI_TOPOLOGY_LAW_H

#include <topology/planner.h>

/// A placement with its tables found. Borrows machine and costs.
typedef struct hsdi_law {
    const hsdi_machine *machine;
    const hsdi_costs *costs;
    const hsdi_cost_table *first, *last; ///< of the target's layers; equal: not split
    int n_layers, split;                 ///< layers before `split` are on the first
    double hop_ns, hop_row_ns;           ///< from the first to the last: a message, and each row
    int n_drafts;                        ///< 0: none, or a lookup
    const hsdi_cost_table *draft[HSDI_PLAN_WORKERS];
    double draft_slow[HSDI_PLAN_WORKERS]; ///< while the target computes
    double target_slow;                   ///< while the drafts compute
    bool is_alike;                        ///< all drafts have the same table
    double lookup_ns;                     ///< of a token, where there is no model
    double rendezvous_ns, far_ns;         ///< software of a step; one way to the farthest draft
    double shared_gbps;                   ///< of the memory that both read; 0: not shared, or known
    bool is_estimated;                    ///< a table of it is
    double draft_ns[HSDI_PLAN_WORKERS][HSDI_COST_ROWS]; ///< a draft's pass alone, not falling
    int called[HSDI_COST_ROWS + 1]; ///< numbers of roots whose call is known already; 0: none
    double call_ns[HSDI_COST_ROWS + 1];
} hsdi_law;

/// Find the tables of a setting's devices and threads.
HSD_NODISCARD hsd_status hsdi_law_open(const hsdi_machine *machine, const hsdi_costs *costs,
                                       const hsdi_plan_setting *setting, hsdi_law *out,
                                       hsd_error *err);

/// Expected step with these numbers on that placement. mode, window, tree, roots and exit_layer
/// of the setting count; they are in range.
void hsdi_law_step(hsdi_law *law, const hsdi_plan_setting *setting, hsdi_plan_step *out);

/// Fill in joules_per_token.
void hsdi_law_power(const hsdi_law *law, hsdi_plan_step *step);

/// The whole pass of n_rows, nothing beside it.
double hsdi_law_pass(const hsdi_law *law, double n_rows);

/// A mirror step with these windows that is no slower than one with any exit and number of roots:
/// every hit is one of the draft's own, and a call has one root.
void hsdi_law_hopeful(hsdi_law *law, const hsdi_plan_setting *setting, hsdi_plan_step *out);

/// Most tokens that any mode's step with such windows can bring.
double hsdi_law_most_tokens(const hsdi_law *law, const hsdi_plan_setting *setting);

/// Cost table of a setting's draft i; NULL: none.
const hsdi_cost_table *hsdi_law_draft_table(const hsdi_machine *machine, const hsdi_costs *costs,
                                            const hsdi_plan_setting *setting, int i);

#endif
