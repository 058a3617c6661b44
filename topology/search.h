/// The search for a plan. Inside of the planner: search.c searches, reasons.c asks again.
#ifndef HSDI_TOPOLOGY_SEARCH_H
#define HSDI_TOPOLOGY_SEARCH_H

#include <topology/law.h>

/// Longest window, largest tree and most roots that the pipelines have.
enum { HSDI_SEARCH_WINDOW = 16, HSDI_SEARCH_TREE = 32, HSDI_SEARCH_ROOTS = 64 };
enum { HSDI_SEARCH_KEPT = HSDI_PLAN_RUNNERS_UP + 1 };

typedef struct hsdi_kept {
    hsdi_plan_candidate candidate;
    double value;
} hsdi_kept;

/// Best settings of different kinds: best first.
typedef struct hsdi_search {
    const hsdi_machine *machine;
    const hsdi_costs *costs;
    const hsdi_plan_options *options;
    hsdi_machine_choices choices; ///< the machine's, or with more decided
    int order[HSDI_MACHINE_DEVICES], workers[HSDI_MACHINE_WORKERS]; ///< by name
    int n_kept;
    hsdi_kept kept[HSDI_SEARCH_KEPT];
    bool has_alone;
    hsdi_kept alone; ///< best of mode AR, whether it may be chosen or not
    int64_t n_tried, n_pruned;
    int n_wanted; ///< so many of the kept are asked for
} hsdi_search;

void hsdi_search_init(hsdi_search *s, const hsdi_machine *machine, const hsdi_costs *costs,
                      const hsdi_plan_options *options);

/// Try everything that the choices leave.
HSD_NODISCARD hsd_status hsdi_search_run(hsdi_search *s, hsd_error *err);

/// Why no target / no draft of ours can be on a device; NULL: it can.
const char *hsdi_search_target_bar(const hsdi_search *s, int i_device);
const char *hsdi_search_draft_bar(const hsdi_search *s, int i_device);

/// Do weights and caches fit? Else the device or host that is too small, and what it would need.
typedef struct hsdi_shortage {
    const char *name;
    int64_t need_bytes, have_bytes;
} hsdi_shortage;

bool hsdi_search_fits(const hsdi_search *s, const hsdi_plan_setting *setting, hsdi_shortage *out);

/// Sentences for a plan that is complete otherwise.
void hsdi_plan_explain(const hsdi_search *done, hsdi_plan *plan);

#endif
