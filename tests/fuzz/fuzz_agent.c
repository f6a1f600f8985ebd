/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest agent that says what it likes, seen as we see it: through libvirt, which parses the
 * agent's JSON and hands us numbers, errors and words. Calls come to a libvirt of this file's own,
 * between clocks of its own; the handoff that is driven over them must end, must not step more
 * often than it promises, and never against its policy.
 */
#include "fuzz.h"

#include "fuzz_clock.h"
#include "guest/handoff_private.h"
#include "timehandoff/agent_libvirt.h"
#include "timehandoff/report.h"

#define MAX_ACTIONS 5000

static struct {
    struct fuzz_bytes input;
    int64_t t_ns, host_ns, guest_ns; /* true time; the two clocks minus true time */
    int64_t late_ns;                 /* what every set-time is held up by */
    virError error;
    char words[64];
    bool failed;
    struct th_handoff_config config;
    bool was_good;           /* the last call was a reading that was answered */
    int64_t least_offset_ns; /* of the burst under way, as it was told */
    unsigned n_set;
} world;

static int64_t fuzz_true_ns(void) {
    return world.t_ns;
}

static int64_t fuzz_host_ahead_ns(void) {
    return world.host_ns;
}

/* ---- in place of libvirt ---- */

static void pass(unsigned size) {
    world.t_ns += (int64_t)fuzz_number(&world.input, size) * TH_NS_PER_US;
}

static int fail(void) {
    static const int codes[] = {VIR_ERR_AGENT_UNRESPONSIVE, VIR_ERR_ARGUMENT_UNSUPPORTED,
                                VIR_ERR_OPERATION_INVALID,  VIR_ERR_RESOURCE_BUSY,
                                VIR_ERR_OPERATION_TIMEOUT,  VIR_ERR_INTERNAL_ERROR,
                                VIR_ERR_AGENT_UNSYNCED,     112};
    size_t length;

    pass(3);
    world.error.code = codes[fuzz_number(&world.input, 1) % TH_ELEMENTS(codes)];
    world.error.domain = fuzz_number(&world.input, 1) % 64 == 1 ? VIR_FROM_RPC : VIR_FROM_QEMU;
    length = world.input.left < sizeof(world.words) - 1 ? world.input.left : 20;
    memcpy(world.words, world.input.at, length);
    world.words[length] = '\0';
    world.error.message = world.words;
    world.failed = true;
    return -1;
}

static int fake_get_time(virDomainPtr domain, long long *seconds, unsigned *nanoseconds,
                         unsigned flags) {
    unsigned how = (unsigned)fuzz_number(&world.input, 1);
    int64_t guest_ns, before_ns = th_now().real_ns;

    (void)domain;
    (void)flags;
    world.was_good = false;
    world.failed = false;
    pass(2);
    world.host_ns += how & 0x40 ? fuzz_signed(&world.input) >> 8 : 0;
    world.guest_ns += how & 0x20 ? fuzz_signed(&world.input) >> 8 : 0;
    guest_ns = REAL_BASE_NS + world.t_ns + world.guest_ns;
    if (how % 8 == 7) {
        return fail();
    }
    if (how % 8 == 6) {
        *seconds = fuzz_signed(&world.input);
        *nanoseconds = (unsigned)fuzz_number(&world.input, 4);
    } else {
        *seconds = guest_ns / TH_NS_PER_S;
        *nanoseconds = (unsigned)(guest_ns % TH_NS_PER_S);
    }
    pass(2);
    if (*seconds >= 0 && *seconds < INT64_MAX / TH_NS_PER_S && *nanoseconds < TH_NS_PER_S) {
        int64_t told_ns = *seconds * TH_NS_PER_S + *nanoseconds;
        int64_t middle_ns = before_ns + (th_now().real_ns - before_ns) / 2;

        told_ns = told_ns < INT64_C(1) << 62 ? told_ns : INT64_C(1) << 62;
        world.was_good = true;
        if (told_ns - middle_ns < world.least_offset_ns) {
            world.least_offset_ns = told_ns - middle_ns;
        }
    }
    return 0;
}

static int fake_set_time(virDomainPtr domain, long long seconds, unsigned nanoseconds,
                         unsigned flags) {
    unsigned how = (unsigned)fuzz_number(&world.input, 1);
    int64_t guest_ns = seconds * TH_NS_PER_S + nanoseconds;

    (void)domain;
    (void)flags;
    must(nanoseconds < TH_NS_PER_S && world.was_good);
    must(world.config.host_synchronised == TH_YES && world.config.policy.mode == TH_HANDOFF_STEP);
    must(world.config.policy.backward || guest_ns - th_now().real_ns >= world.least_offset_ns);
    must(++world.n_set <= TH_HANDOFF_MAX_TRIES);
    world.was_good = false;
    world.failed = false;
    pass(2);
    world.t_ns += world.late_ns;
    if (how % 4 != 3) {
        world.guest_ns = guest_ns - REAL_BASE_NS - world.t_ns;
    }
    pass(3);
    return how & 0x10 ? fail() : 0;
}

static virErrorPtr fake_last_error(void) {
    return world.failed ? &world.error : NULL;
}

static int fake_is_alive(virConnectPtr connection) {
    (void)connection;
    return fuzz_number(&world.input, 1) % 64 != 1;
}

static virConnectPtr fake_connect(virDomainPtr domain) {
    (void)domain;
    return NULL;
}

static int fake_uuid(virDomainPtr domain, unsigned char *uuid) {
    (void)domain;
    memset(uuid, 7, 16);
    return 0;
}

static int fake_ref(virDomainPtr domain) {
    (void)domain;
    return 0;
}

static const struct th_virt virt = {
    .virDomainGetTime = fake_get_time,
    .virDomainSetTime = fake_set_time,
    .virGetLastError = fake_last_error,
    .virConnectIsAlive = fake_is_alive,
    .virDomainGetConnect = fake_connect,
    .virDomainGetUUID = fake_uuid,
    .virDomainRef = fake_ref,
    .virDomainFree = fake_ref,
};

/* ---- one handoff ---- */

static struct th_handoff_config make_config(void) {
    struct fuzz_bytes *input = &world.input;
    unsigned bits = (unsigned)fuzz_number(input, 1), more = (unsigned)fuzz_number(input, 1);

    return (struct th_handoff_config){
        .uuid = {{7}},
        .name = "web1",
        .trigger = (enum th_trigger)(bits % 8 + 1),
        .event_mono_ns = bits & 0x08 ? 0 : world.t_ns - (int64_t)(more % 8) * TH_NS_PER_S,
        .policy = {.mode = more & 0x40 ? TH_HANDOFF_REPORT : TH_HANDOFF_STEP,
                   .backward = bits & 0x10,
                   .deadband_ns = (int64_t)fuzz_number(input, 1) * TH_NS_PER_MS,
                   .max_step_ns = more & 0x20 ? 3600 * TH_NS_PER_S : -1},
        .target_ns = TH_NS_PER_MS,
        .give_up_ns = 300 * TH_NS_PER_S,
        .host_synchronised = bits & 0x20 ? TH_UNKNOWN : TH_YES,
        .missed_event = bits & 0x40,
        .wait_for_agent = !(bits & 0x80),
    };
}

static void have_event(struct th_handoff *handoff) {
    struct th_now now = th_now();

    switch (fuzz_number(&world.input, 1)) {
    case 1: th_handoff_connected(handoff, &now); break;
    case 2: th_handoff_void(handoff, "rebooted", &now); break;
    case 3:
        world.config.host_synchronised = TH_NO;
        th_handoff_synchronised(handoff, TH_NO);
        break;
    case 4:
        world.config.host_synchronised = TH_YES;
        th_handoff_synchronised(handoff, TH_YES);
        break;
    default: break;
    }
}

static void run(struct th_handoff *handoff, const struct th_agent *agent) {
    for (unsigned i = 0; i < MAX_ACTIONS; i++) {
        struct th_now now = th_now();
        struct th_handoff_action action;

        if (i % 4 == 3) {
            have_event(handoff);
        }
        action = th_handoff_next(handoff, &now);
        switch (action.what) {
        case TH_DO_FINISH: return;
        case TH_DO_WAIT:
            must(action.until_mono_ns > world.t_ns);
            world.t_ns = action.until_mono_ns;
            break;
        case TH_DO_READ:
            world.least_offset_ns = INT64_MAX;
            th_handoff_perform(handoff, &action, agent);
            break;
        case TH_DO_SET: th_handoff_perform(handoff, &action, agent); break;
        }
    }
    fuzz_stop(__FILE__, (unsigned)__LINE__, "it ends");
}

static void check_record(const struct th_handoff_record *record) {
    char line[TH_REPORT_LINE_SIZE], *json = NULL;
    struct th_status_handoff status;
    size_t size = 0;
    FILE *out = open_memstream(&json, &size);

    must(record->outcome > TH_HANDOFF_PENDING && record->outcome <= TH_HANDOFF_VOID);
    must(record->steps <= TH_HANDOFF_MAX_STEPS && record->steps <= world.n_set);
    must(!record->has_before || record->before.bound_ns > 0);
    must(!record->has_residual || record->residual.bound_ns > 0);
    must(record->outcome != TH_HANDOFF_STEPPED || record->steps > 0);
    must(fuzz_is_line(record->detail) && fuzz_is_line(th_report_handoff_line(record, line)));
    th_status_handoff_from(record, th_now().real_ns, &status);
    must(status.before_bound_ns >= 0 && status.residual_bound_ns >= 0);
    must(out && th_report_handoff_json(record, out) == 0 && fclose(out) == 0);
    must(fuzz_is_json(json, size));
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct th_agent_libvirt *object = NULL;
    struct th_handoff *handoff = NULL;
    struct th_agent agent;
    struct th_now now;

    memset(&world, 0, sizeof(world));
    world.input = (struct fuzz_bytes){data, size};
    world.t_ns = 1000 * TH_NS_PER_S;
    world.config = make_config();
    world.late_ns = (int64_t)fuzz_number(&world.input, 1) * TH_NS_PER_MS;
    world.guest_ns = fuzz_signed(&world.input) >> 3;
    must(th_agent_libvirt_new(&virt, NULL, &object) == 0);
    agent = th_agent_libvirt_agent(object);
    now = th_now();
    must(th_handoff_new(&world.config, &now, &handoff) == 0);
    run(handoff, &agent);
    check_record(th_handoff_record(handoff));
    (void)th_handoff_free(handoff);
    (void)th_agent_libvirt_free(object);
    return 0;
}
