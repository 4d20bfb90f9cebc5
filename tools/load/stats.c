#include "tools/load/stats.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

static unsigned bucket_of(uint64_t us) {
    if (us < HISTOGRAM_STEPS)
        return (unsigned)us;
    unsigned octave = 63 - (unsigned)__builtin_clzll(us) - 4; /* 32..63 us is octave 1 */
    if (octave >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_STEPS * HISTOGRAM_OCTAVES - 1;
    return octave * HISTOGRAM_STEPS + (unsigned)(us >> (octave - 1)) - HISTOGRAM_STEPS;
}

static int64_t bucket_middle_us(unsigned bucket) {
    unsigned octave = bucket / HISTOGRAM_STEPS, step = bucket % HISTOGRAM_STEPS;
    if (octave == 0)
        return step;
    int64_t width = (int64_t)1 << (octave - 1);
    return (HISTOGRAM_STEPS + (int64_t)step) * width + width / 2;
}

void histogram_add(struct histogram *histogram, int64_t us) {
    if (us < 0)
        us = 0;
    histogram->counts[bucket_of((uint64_t)us)]++;
    histogram->total++;
    if (us > histogram->max_us)
        histogram->max_us = us;
}

int64_t histogram_quantile(const struct histogram *histogram, double share) {
    uint64_t rank = (uint64_t)(share * (double)histogram->total), seen = 0;
    if (rank >= histogram->total)
        return histogram->max_us;
    for (unsigned i = 0; i < HISTOGRAM_STEPS * HISTOGRAM_OCTAVES; i++) {
        seen += histogram->counts[i];
        if (seen > rank)
            return bucket_middle_us(i) < histogram->max_us ? bucket_middle_us(i) : histogram->max_us;
    }
    return histogram->max_us;
}

void playout_start(struct playout *playout, int64_t now_us, int64_t position_us) {
    playout->playing = true;
    playout->started_us = now_us;
    playout->position_us = position_us;
}

/* Moves the clock on over the time that the buffer has been dry, if it has. */
static void count_stall(struct playout *playout, int64_t now_us) {
    int64_t dry_us = playout->started_us + (playout->end_us - playout->position_us);
    int64_t stalled_us = now_us - dry_us;
    if (stalled_us <= 0)
        return;
    playout->started_us += stalled_us;
    if (stalled_us < PLAYOUT_STALL_MIN_US)
        return;
    playout->stalls++;
    playout->stalled_us += stalled_us;
}

void playout_extend(struct playout *playout, int64_t now_us, int64_t end_us) {
    if (playout->playing)
        count_stall(playout, now_us);
    if (end_us > playout->end_us)
        playout->end_us = end_us;
}

void playout_jump(struct playout *playout, int64_t by_us) {
    playout->position_us += by_us;
    playout->end_us += by_us;
}

void playout_forget(struct playout *playout) {
    playout->stalls = 0;
    playout->stalled_us = 0;
}

void playout_end(struct playout *playout, int64_t now_us) {
    if (playout->playing)
        count_stall(playout, now_us);
}

static int64_t cpu_of_thread(int pid, const char *tid) {
    char path[64];
    int64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/schedstat", pid, tid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%" SCNd64, &ns) != 1)
        ns = 0;
    fclose(file);
    return ns;
}

int64_t cpu_of_process(int pid) {
    char path[32];
    int64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (!threads)
        return -1;
    for (const struct dirent *thread; (thread = readdir(threads));)
        if (thread->d_name[0] != '.')
            ns += cpu_of_thread(pid, thread->d_name);
    closedir(threads);
    return ns;
}
