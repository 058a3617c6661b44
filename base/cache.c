/// Names of cache types and layouts, which topology, devices and the public interface share.
#include <hsd/cache.h>

const char *hsd_cache_type_name(hsd_cache_type type)
{
    static const char *const names[HSD_N_CACHE_TYPES] = {"f32", "f16", "q8_0"};
    return (unsigned)type < HSD_N_CACHE_TYPES ? names[type] : "?";
}

const char *hsd_cache_layout_name(hsd_cache_layout layout)
{
    static const char *const names[HSD_N_CACHE_LAYOUTS] = {"auto", "kv", "el"};
    return (unsigned)layout < HSD_N_CACHE_LAYOUTS ? names[layout] : "?";
}
