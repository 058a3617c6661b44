/// Coupled sampling makes the target's token a function of its context, so equality is the whole
/// rule: no draft probabilities are needed.
#include <pipelines/verify.h>

int hsdi_verify(const int32_t *window, int n_window, const int32_t *own)
{
    int n_accepted = 0;
    while (n_accepted < n_window && window[n_accepted] == own[n_accepted]) {
        n_accepted++;
    }
    return n_accepted;
}
