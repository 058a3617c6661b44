/// Makes draft stages for sessions: the factory behind a draft worker.
#ifndef HSDI_ENGINE_DRAFTS_H
#define HSDI_ENGINE_DRAFTS_H

#include "engine/stages.h"
#include "engine/tokenizer.h"
#include "pipelines/worker.h"

/// What a worker can draft with. Borrowed pieces; NULL where there is none.
typedef struct hsdi_drafts {
    hsdi_runner *model;  ///< a draft model; for HSD_DRAFT_MODEL
    hsdi_runner *target; ///< the target's weights on the draft device; for HSD_DRAFT_EARLY_EXIT
    int n_vocab;         ///< for HSD_DRAFT_NGRAM; 0: as the draft model
    const hsdi_tokenizer *tokenizer; ///< names what differs from another vocabulary; may be NULL
    uint64_t vocab_hash, fingerprint;
    bool promises; ///< memory is promised here; else with the session, before its draft is opened
} hsdi_drafts;

/// The vocabulary as the handshake compares it. Borrows the tokenizer.
hsdi_vocabulary hsdi_vocabulary_of(const hsdi_tokenizer *tokenizer);

/// A factory on `drafts`, which must outlive the worker that uses it.
hsdi_draft_factory hsdi_drafts_factory(hsdi_drafts *drafts);

#endif
