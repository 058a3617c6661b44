/// The law of a placement, resolved once and asked for many windows. Inside of the planner.
#ifndef HSDI_TOPOLOGY_LAW_H
#define HSDI_TOPOLOGY_LAW_H

#include <topology/planner.h>

/// Longest window, largest tree and most roots that the pipelines have.
enum { HSDI_SEARCH_WINDOW = 16, HSDI_SEARCH_TREE = 32, HSDI_SEARCH_ROOTS = 64 };
enum { HSDI_LAW_KINDS = HSD_DRAFT_EARLY_EXIT + 1, HSDI_LAW_ROWS = 64, HSDI_LAW_EXITS = 4 };

/// A pass cut at an exit: layers before it, the head at it, the rest.
typedef struct hsdi_law_cut {
    double prefix, head, suffix;
} hsdi_law_cut;

/// Passes of one place of the target, by rows. 0: not asked for yet.
typedef struct hsdi_law_passes {
    double whole[HSDI_LAW_ROWS];
    hsdi_law_cut cut[HSDI_LAW_EXITS][HSDI_LAW_ROWS];
} hsdi_law_passes;

/// What laws of the same machine and costs have in common: a search asks for few windows, rows and
/// exits with many drafts. 0: not asked for yet. `passes` is for one place: clear it for another.
typedef struct hsdi_law_known {
    hsdi_law_passes passes;
    int n_exits, exit_layer[HSDI_LAW_EXITS];
    double tokens[HSDI_LAW_KINDS][HSDI_SEARCH_WINDOW + 1][HSDI_SEARCH_TREE + 1];
    double own[HSDI_SEARCH_WINDOW + 1][HSDI_COST_ROWS][HSDI_LAW_EXITS];
    double hit[HSDI_SEARCH_WINDOW + 1][HSDI_COST_ROWS][HSDI_LAW_EXITS];
    double most[HSDI_SEARCH_WINDOW + 1]; ///< of hits, with any roots and exit
    double goes_on;
    uint64_t shares[HSDI_MACHINE_DEVICES][HSDI_MACHINE_DEVICES / 64]; ///< hardware with others
} hsdi_law_known;

/// One draft beside a target's place.
typedef struct hsdi_law_draft {
    const hsdi_cost_table *table; ///< NULL: there is no model
    const hsdi_cost_turn *turn;   ///< measured in turn with the target; NULL: it was not
    double ns[HSDI_COST_ROWS];    ///< a pass alone, not falling
    double slow, target_slow;     ///< of the draft while the target computes, and of the target
    double shared_gbps, rendezvous_ns, far_ns; ///< as in the law
} hsdi_law_draft;

/// A placement with its tables found. Borrows machine and costs.
typedef struct hsdi_law {
    const hsdi_machine *machine;
    const hsdi_costs *costs;
    hsdi_law_known *known;               ///< shared; NULL: nothing is remembered
    const hsdi_cost_table *first, *last; ///< of the target's layers; equal: not split
    int n_layers, split;                 ///< layers before `split` are on the first
    double hop_ns, hop_row_ns;           ///< from the first to the last: a message, and each row
    int n_drafts;                        ///< 0: none, or a lookup
    double target_slow;                  ///< while the drafts compute
    bool is_alike;                       ///< all drafts have the same table
    double lookup_ns;                    ///< of a token, where there is no model
    double rendezvous_ns, far_ns;        ///< software of a step; one way to the farthest draft
    double shared_gbps;                  ///< of the memory that both read; 0: not shared, or known
    bool is_estimated;                   ///< a table of it is
    double slowest_ns, slowest_beside_ns, quickest_beside_ns; ///< a draft's row, of all drafts
    int called[HSDI_COST_ROWS + 1]; ///< numbers of roots whose call is known already; 0: none
    double call_ns[HSDI_COST_ROWS + 1];
    hsdi_law_draft draft[HSDI_PLAN_WORKERS];
} hsdi_law;

/// Nothing is known yet but which devices of a machine share hardware.
void hsdi_law_known_init(hsdi_law_known *out, const hsdi_machine *machine);

/// Find the tables of a setting's devices and threads.
HSD_NODISCARD hsd_status hsdi_law_open(const hsdi_machine *machine, const hsdi_costs *costs,
                                       const hsdi_plan_setting *setting, hsdi_law *out,
                                       hsd_error *err);

/// In parts: the target of a setting; draft i of it beside that; the place with such drafts.
HSD_NODISCARD hsd_status hsdi_law_place(const hsdi_machine *machine, const hsdi_costs *costs,
                                        const hsdi_plan_setting *setting, hsdi_law *out,
                                        hsd_error *err);
HSD_NODISCARD hsd_status hsdi_law_find_draft(const hsdi_law *place,
                                             const hsdi_plan_setting *setting, int i,
                                             hsdi_law_draft *out, hsd_error *err);
void hsdi_law_join(const hsdi_law *place, const hsdi_law_draft *drafts, int n, hsdi_law *out);

/// Expected step with these numbers on that placement. mode, window, tree, roots and exit_layer
/// of the setting count; they are in range.
void hsdi_law_step(hsdi_law *law, const hsdi_plan_setting *setting, hsdi_plan_step *out);

/// Fill in joules_per_token.
void hsdi_law_power(const hsdi_law *law, hsdi_plan_step *step);

/// The whole pass of n_rows, nothing beside it.
double hsdi_law_pass(const hsdi_law *law, int n_rows);

/// A step that no real one with the setting's window is better than. Mirror: with the exit and so
/// many roots or more; roots 0: any number of them, any exit (the setting's is one of them) and any
/// tree up to the setting's.
void hsdi_law_hopeful(hsdi_law *law, const hsdi_plan_setting *setting, hsdi_plan_step *out);

/// Most tokens that any mode's step with such windows can bring.
double hsdi_law_most_tokens(const hsdi_law *law, const hsdi_plan_setting *setting);

/// Cost table of a setting's draft i; NULL: none.
const hsdi_cost_table *hsdi_law_draft_table(const hsdi_machine *machine, const hsdi_costs *costs,
                                            const hsdi_plan_setting *setting, int i);

#endif
