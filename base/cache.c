/// Names of cache types, which topology, devices and the public interface share.
#include <hsd/cache.h>

const char *hsd_cache_type_name(hsd_cache_type type)
{
    static const char *const names[HSD_N_CACHE_TYPES] = {"f32", "f16", "q8_0"};
    return (unsigned)type < HSD_N_CACHE_TYPES ? names[type] : "?";
}
