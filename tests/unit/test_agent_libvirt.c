/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The libvirt agent against libvirt's own test driver, which runs in this process and has the time
 * calls, and against a table that answers as a QEMU host would for what the driver lacks: errors
 * and agent time-outs. Locks and their undoing are tried with real files and a process that dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/domain_lock.h"
#include "timehandoff/agent_libvirt.h"
#include "timehandoff/handoff.h"

struct fixture {
    struct th_virt *virt;
    virConnectPtr connection;
    virDomainPtr domain;
    struct th_uuid uuid;
    char folder[64], locks[80];
};

static int setup(void **state) {
    static struct fixture fixture;
    char error[200];

    memset(&fixture, 0, sizeof(fixture));
    strcpy(fixture.folder, "/tmp/th-agent-XXXXXX");
    assert_non_null(mkdtemp(fixture.folder));
    snprintf(fixture.locks, sizeof(fixture.locks), "%s/locks", fixture.folder);
    assert_int_equal(th_virt_load(&fixture.virt, error, sizeof(error)), 0);
    assert_int_equal(th_virt_open(fixture.virt, &(struct th_virt_login){.uri = "test:///default"},
                                  &fixture.connection, error, sizeof(error)),
                     0);
    fixture.domain = fixture.virt->virDomainLookupByName(fixture.connection, "test");
    assert_non_null(fixture.domain);
    assert_int_equal(fixture.virt->virDomainGetUUID(fixture.domain, fixture.uuid.bytes), 0);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    fixture->virt->virDomainFree(fixture->domain);
    fixture->virt->virConnectClose(fixture->connection);
    fixture->virt = th_virt_free(fixture->virt);
    (void)rmdir(fixture->locks);
    /* A lock that was left behind is a failure. */
    return rmdir(fixture->folder);
}

static void lock_path(const struct fixture *fixture, char path[160]) {
    char text[TH_UUID_TEXT_SIZE];

    snprintf(path, 160, "%s/%s", fixture->locks, th_uuid_format(&fixture->uuid, text));
}

static bool lock_exists(const struct fixture *fixture) {
    char path[160];

    lock_path(fixture, path);
    return access(path, F_OK) == 0;
}

/* ---- libvirt on demand ---- */

static void test_open_refuses(void **state) {
    const struct fixture *fixture = *state;
    virConnectPtr connection = NULL;
    char error[200] = "", path[100];
    int fd;

    assert_int_equal(th_virt_open(fixture->virt, &(struct th_virt_login){.uri = "nonsense:///"},
                                  &connection, error, sizeof(error)),
                     -ECONNREFUSED);
    assert_true(strlen(error) > 0);

    snprintf(path, sizeof(path), "%s/password", fixture->folder);
    assert_int_equal(th_virt_open(fixture->virt,
                                  &(struct th_virt_login){.user = "u", .password_file = path},
                                  &connection, error, sizeof(error)),
                     -ENOENT);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0 && fchmod(fd, 0644) == 0 && write(fd, "secret\n", 7) == 7);
    close(fd);
    assert_int_equal(th_virt_open(fixture->virt,
                                  &(struct th_virt_login){.user = "u", .password_file = path},
                                  &connection, error, sizeof(error)),
                     -EPERM);
    assert_non_null(strstr(error, "chmod"));
    assert_null(strstr(error, "secret"));
    assert_null(connection);
    unlink(path);
}

/* The test driver can ask for a user and a password. */
static void test_open_with_password(void **state) {
    static const char node[] = "<node><auth><user password='open'>sesame</user></auth></node>";
    const struct fixture *fixture = *state;
    char xml[100], uri[120], password[100], error[200];
    struct th_virt_login login = {.uri = uri, .user = "sesame", .password_file = password};
    virConnectPtr connection = NULL;
    FILE *file;

    snprintf(xml, sizeof(xml), "%s/node.xml", fixture->folder);
    snprintf(uri, sizeof(uri), "test://%s", xml);
    snprintf(password, sizeof(password), "%s/password", fixture->folder);
    umask(077);
    file = fopen(xml, "w");
    assert_true(file && fputs(node, file) >= 0 && fclose(file) == 0);
    file = fopen(password, "w");
    assert_true(file && fputs("open\nsecond line\n", file) >= 0 && fclose(file) == 0);

    assert_int_equal(th_virt_open(fixture->virt, &login, &connection, error, sizeof(error)), 0);
    fixture->virt->virConnectClose(connection);
    login.user = "somebody";
    assert_int_equal(th_virt_open(fixture->virt, &login, &connection, error, sizeof(error)),
                     -ECONNREFUSED);
    login.user = NULL;
    assert_int_equal(th_virt_open(fixture->virt, &login, &connection, error, sizeof(error)),
                     -ECONNREFUSED);
    unlink(xml);
    unlink(password);
}

/* ---- the agent over the test driver ---- */

static void test_get_and_set(void **state) {
    const struct fixture *fixture = *state;
    struct th_agent_libvirt *object = NULL;
    struct th_agent agent;
    int64_t guest_ns = 0;

    assert_int_equal(th_agent_libvirt_new(fixture->virt, fixture->domain, &object), 0);
    agent = th_agent_libvirt_agent(object);
    assert_int_equal(th_agent_libvirt_begin(object, fixture->locks, 30), 0);
    assert_true(lock_exists(fixture));
    assert_int_equal(agent.ops->set_time(agent.self, INT64_C(1790000000123456789)), TH_AGENT_OK);
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_OK);
    assert_int_equal(guest_ns, INT64_C(1790000000123456789));
    assert_string_equal(agent.ops->last_error(agent.self), "");
    th_agent_libvirt_end(object);
    assert_false(lock_exists(fixture));
    assert_null(th_agent_libvirt_free(object));
    assert_null(th_agent_libvirt_free(NULL));
}

/* A function of libvirt that the table lacks, as only tests need it. */
#define LIBVIRT(fixture, name) ((__typeof__(name) *)find_function((fixture)->virt, #name))

static void (*find_function(const struct th_virt *virt, const char *name))(void) {
    void *symbol = dlsym(virt->library, name);
    void (*function)(void);

    assert_non_null(symbol);
    memcpy(&function, &symbol, sizeof(function));
    return function;
}

static void test_paused(void **state) {
    const struct fixture *fixture = *state;
    struct th_agent_libvirt *object = NULL;
    struct th_agent agent;
    int64_t guest_ns = 42;

    assert_int_equal(th_agent_libvirt_new(fixture->virt, fixture->domain, &object), 0);
    agent = th_agent_libvirt_agent(object);
    assert_int_equal(LIBVIRT(fixture, virDomainSuspend)(fixture->domain), 0);
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_NOT_RUNNING);
    assert_int_equal(guest_ns, 42);
    assert_non_null(strstr(agent.ops->last_error(agent.self), "not running"));
    assert_int_equal(LIBVIRT(fixture, virDomainResume)(fixture->domain), 0);
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_OK);
    assert_string_equal(agent.ops->last_error(agent.self), "");
    th_agent_libvirt_free(object);
}

/* A whole handoff with real clocks. The driver's guest clock stands still, so it lags a little. */
static void test_handoff_over_libvirt(void **state) {
    const struct fixture *fixture = *state;
    struct th_now now = th_now();
    const struct th_handoff_config config = {
        .uuid = fixture->uuid,
        .name = "test",
        .trigger = TH_TRIGGER_UNPAUSED,
        .event_mono_ns = now.mono_ns,
        .policy = {.mode = TH_HANDOFF_STEP, .deadband_ns = TH_NS_PER_S, .max_step_ns = -1},
        .target_ns = TH_NS_PER_S / 2,
        .give_up_ns = TH_NS_PER_S,
        .host_synchronised = TH_YES,
    };
    struct th_agent_libvirt *object = NULL;
    const struct th_handoff_record *record;
    struct th_handoff *handoff = NULL;
    struct th_agent agent;
    struct th_offset offset;

    assert_int_equal(th_agent_libvirt_new(fixture->virt, fixture->domain, &object), 0);
    agent = th_agent_libvirt_agent(object);
    assert_int_equal(agent.ops->set_time(agent.self, now.real_ns - 3600 * TH_NS_PER_S), 0);
    assert_int_equal(th_handoff_new(&config, &now, &handoff), 0);
    assert_int_equal(th_handoff_run(handoff, &agent, now.mono_ns + 30 * TH_NS_PER_S), 0);
    record = th_handoff_record(handoff);
    assert_int_equal(record->outcome, TH_HANDOFF_STEPPED);
    assert_int_equal(record->steps, 1);
    assert_true(record->stepped_ns > 3599 * TH_NS_PER_S);
    assert_memory_equal(&record->uuid, &fixture->uuid, sizeof(record->uuid));
    assert_int_equal(th_handoff_measure(&agent, 3, &offset), TH_AGENT_OK);
    assert_true(offset.offset_ns < 0 && offset.offset_ns > -5 * TH_NS_PER_S);
    handoff = th_handoff_free(handoff);
    th_agent_libvirt_free(object);
}

static enum th_agent_outcome get_never(void *self, int64_t *ret_guest_ns) {
    (void)self;
    (void)ret_guest_ns;
    return TH_AGENT_NOT_CONNECTED;
}

static const char *no_words(void *self) {
    (void)self;
    return "";
}

/* A wait beyond the deadline is not begun. */
static void test_run_keeps_its_deadline(void **state) {
    static const struct th_agent_ops ops = {.get_time = get_never, .last_error = no_words};
    const struct th_agent agent = {.ops = &ops};
    struct th_now now = th_now();
    const struct th_handoff_config config = {
        .name = "test",
        .trigger = TH_TRIGGER_REQUEST,
        .policy = {.mode = TH_HANDOFF_STEP, .deadband_ns = 1, .max_step_ns = -1},
        .give_up_ns = 600 * TH_NS_PER_S,
        .wait_for_agent = true,
    };
    struct th_handoff *handoff = NULL;
    struct th_offset offset;

    (void)state;
    assert_int_equal(th_handoff_new(&config, &now, &handoff), 0);
    assert_int_equal(th_handoff_run(handoff, &agent, now.mono_ns + 200 * TH_NS_PER_MS), -ETIMEDOUT);
    assert_true(th_now_mono_ns() - now.mono_ns < 5 * TH_NS_PER_S);
    assert_true(th_handoff_record(handoff)->attempts >= 2);
    assert_int_equal(th_handoff_measure(&agent, 3, &offset), TH_AGENT_NOT_CONNECTED);
    th_handoff_free(handoff);
}

/* ---- what the test driver lacks: a host of our own making ---- */

static struct {
    int timeout_s; /* the last one set; 0: none */
    unsigned n_timeouts;
    bool fails;
    virError error;
    bool alive;
    long long seconds;
    unsigned nanoseconds;
} host;

static int host_set_timeout(virDomainPtr domain, int timeout_s, unsigned flags) {
    assert_non_null(domain);
    assert_int_equal(flags, 0);
    if (host.fails) {
        return -1;
    }
    host.timeout_s = timeout_s;
    host.n_timeouts++;
    return 0;
}

static int host_get_time(virDomainPtr domain, long long *seconds, unsigned *nanoseconds,
                         unsigned flags) {
    assert_non_null(domain);
    assert_int_equal(flags, 0);
    if (host.fails) {
        return -1;
    }
    *seconds = host.seconds;
    *nanoseconds = host.nanoseconds;
    return 0;
}

static int host_set_time(virDomainPtr domain, long long seconds, unsigned nanoseconds,
                         unsigned flags) {
    assert_non_null(domain);
    assert_int_equal(flags, 0);
    host.seconds = seconds;
    host.nanoseconds = nanoseconds;
    return host.fails ? -1 : 0;
}

static virErrorPtr host_error(void) {
    return &host.error;
}

static int host_is_alive(virConnectPtr connection) {
    assert_non_null(connection);
    return host.alive;
}

/* The real table, with the functions above in it. */
static struct th_virt host_table(const struct fixture *fixture) {
    static char words[] = "words\nof libvirt";
    struct th_virt virt = *fixture->virt;

    memset(&host, 0, sizeof(host));
    host.alive = true;
    host.error.message = words;
    virt.virDomainAgentSetResponseTimeout = host_set_timeout;
    virt.virDomainGetTime = host_get_time;
    virt.virDomainSetTime = host_set_time;
    virt.virGetLastError = host_error;
    virt.virConnectIsAlive = host_is_alive;
    return virt;
}

static void fail_with(int code, int domain) {
    host.fails = true;
    host.error.code = code;
    host.error.domain = domain;
}

static void test_meaning_of_errors(void **state) {
    static const struct {
        int code, domain;
        int64_t call_ns;
        enum th_agent_outcome outcome;
    } cases[] = {
        {VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_QEMU, TH_NS_PER_MS, TH_AGENT_NOT_CONNECTED},
        {VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_QEMU, 5 * TH_NS_PER_S, TH_AGENT_TIMED_OUT},
        {VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_QEMU, 30 * TH_NS_PER_S, TH_AGENT_TIMED_OUT},
        {112, VIR_FROM_QEMU, TH_NS_PER_MS, TH_AGENT_NOT_CONNECTED},
        {112, VIR_FROM_QEMU, 30 * TH_NS_PER_S, TH_AGENT_TIMED_OUT},
        {113, VIR_FROM_QEMU, 0, TH_AGENT_REFUSED},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, 0, TH_AGENT_REFUSED},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, 0, TH_AGENT_CONNECTION_LOST},
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, 0, TH_AGENT_CONNECTION_LOST},
        {VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_FROM_QEMU, 0, TH_AGENT_ABSENT},
        {VIR_ERR_OPERATION_INVALID, VIR_FROM_QEMU, 0, TH_AGENT_NOT_RUNNING},
        {VIR_ERR_NO_DOMAIN, VIR_FROM_QEMU, 0, TH_AGENT_NOT_RUNNING},
        {VIR_ERR_OPERATION_TIMEOUT, VIR_FROM_QEMU, 30 * TH_NS_PER_S, TH_AGENT_BUSY},
        {VIR_ERR_OPERATION_UNSUPPORTED, VIR_FROM_QEMU, 0, TH_AGENT_REFUSED},
        {VIR_ERR_ACCESS_DENIED, VIR_FROM_ACCESS, 0, TH_AGENT_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_int_equal(
            th_agent_libvirt_outcome(cases[i].code, cases[i].domain, cases[i].call_ns, 30),
            cases[i].outcome);
    }
    /* With a short time-out, silence shows sooner. */
    assert_int_equal(
        th_agent_libvirt_outcome(VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_QEMU, TH_NS_PER_S, 1),
        TH_AGENT_TIMED_OUT);
}

static void test_calls_that_fail(void **state) {
    const struct fixture *fixture = *state;
    struct th_virt virt = host_table(fixture);
    struct th_agent_libvirt *object = NULL;
    struct th_agent agent;
    int64_t guest_ns = 42;

    assert_int_equal(th_agent_libvirt_new(&virt, fixture->domain, &object), 0);
    agent = th_agent_libvirt_agent(object);
    assert_int_equal(agent.ops->set_time(agent.self, INT64_C(1700000000999999999)), 0);
    assert_true(host.seconds == 1700000000 && host.nanoseconds == 999999999);
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_OK);
    assert_int_equal(guest_ns, INT64_C(1700000000999999999));

    fail_with(113, VIR_FROM_QEMU);
    assert_int_equal(agent.ops->set_time(agent.self, 1), TH_AGENT_REFUSED);
    assert_string_equal(agent.ops->last_error(agent.self), "words?of libvirt");
    host.alive = false;
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_CONNECTION_LOST);

    /* A guest may say any number. */
    host.fails = false;
    host.seconds = INT64_MAX;
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_REFUSED);
    host.seconds = -1;
    assert_int_equal(agent.ops->get_time(agent.self, &guest_ns), TH_AGENT_REFUSED);
    assert_int_equal(guest_ns, INT64_C(1700000000999999999));
    th_agent_libvirt_free(object);
}

/* ---- begin, end, undo ---- */

static void test_timeout_is_set_and_set_back(void **state) {
    const struct fixture *fixture = *state;
    struct th_virt virt = host_table(fixture);
    struct th_agent_libvirt *object = NULL;

    assert_int_equal(th_agent_libvirt_new(&virt, fixture->domain, &object), 0);
    assert_int_equal(th_agent_libvirt_begin(object, fixture->locks, 30), 0);
    assert_int_equal(host.timeout_s, 30);
    th_agent_libvirt_free(object);
    assert_int_equal(host.timeout_s, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    assert_int_equal(host.n_timeouts, 2);
    assert_false(lock_exists(fixture));
}

static void test_begin_that_fails_leaves_nothing(void **state) {
    const struct fixture *fixture = *state;
    struct th_virt virt = host_table(fixture);
    struct th_agent_libvirt *object = NULL;

    assert_int_equal(th_agent_libvirt_new(&virt, fixture->domain, &object), 0);
    fail_with(VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC);
    assert_int_equal(th_agent_libvirt_begin(object, fixture->locks, 30), TH_AGENT_CONNECTION_LOST);
    assert_false(lock_exists(fixture));
    host.fails = false;
    assert_int_equal(th_agent_libvirt_begin(object, fixture->locks, 30), 0);
    th_agent_libvirt_free(object);
}

static void test_one_at_a_time(void **state) {
    const struct fixture *fixture = *state;
    struct th_agent_libvirt *first = NULL, *second = NULL;
    struct th_agent agent;

    assert_int_equal(th_agent_libvirt_new(fixture->virt, fixture->domain, &first), 0);
    assert_int_equal(th_agent_libvirt_new(fixture->virt, fixture->domain, &second), 0);
    agent = th_agent_libvirt_agent(second);
    assert_int_equal(th_agent_libvirt_begin(first, fixture->locks, 30), 0);
    assert_int_equal(th_agent_libvirt_begin(second, fixture->locks, 30), TH_AGENT_BUSY);
    assert_non_null(strstr(agent.ops->last_error(agent.self), "another handoff"));
    th_agent_libvirt_end(second);
    assert_true(lock_exists(fixture));
    th_agent_libvirt_end(first);
    assert_int_equal(th_agent_libvirt_begin(second, fixture->locks, 30), 0);
    th_agent_libvirt_free(second);
    th_agent_libvirt_free(first);
}

/* libvirtd is gone when the time-out is to be set back: the mark tells the next one. */
static void test_end_that_fails_leaves_the_mark(void **state) {
    const struct fixture *fixture = *state;
    struct th_virt virt = host_table(fixture);
    struct th_agent_libvirt *object = NULL;

    assert_int_equal(th_agent_libvirt_new(&virt, fixture->domain, &object), 0);
    assert_int_equal(th_agent_libvirt_begin(object, fixture->locks, 30), 0);
    fail_with(VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC);
    th_agent_libvirt_free(object);
    assert_true(lock_exists(fixture));
    assert_int_equal(th_agent_libvirt_undo(&virt, fixture->connection, fixture->locks), 0);
    assert_true(lock_exists(fixture));
    host.fails = false;
    assert_int_equal(th_agent_libvirt_undo(&virt, fixture->connection, fixture->locks), 1);
    assert_int_equal(host.timeout_s, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    assert_false(lock_exists(fixture));
}

static void test_undo_after_a_crash(void **state) {
    const struct fixture *fixture = *state;
    struct th_virt virt = host_table(fixture);
    struct th_domain_lock lock = TH_DOMAIN_LOCK_NONE;
    int ready[2], status;
    char byte = 0;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool held = th_domain_lock_take(&lock, fixture->locks, &fixture->uuid) == 0 &&
                    th_domain_lock_mark(&lock) == 0;

        (void)!write(ready[1], held ? "+" : "-", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, '+');
    /* It lives: its lock holds, and its mark is none of our business. */
    assert_int_equal(th_domain_lock_take(&lock, fixture->locks, &fixture->uuid), -EWOULDBLOCK);
    assert_int_equal(th_agent_libvirt_undo(&virt, fixture->connection, fixture->locks), 0);
    assert_int_equal(host.n_timeouts, 0);

    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    assert_true(lock_exists(fixture));
    assert_int_equal(th_agent_libvirt_undo(&virt, fixture->connection, fixture->locks), 1);
    assert_int_equal(host.n_timeouts, 1);
    assert_int_equal(host.timeout_s, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    assert_false(lock_exists(fixture));
}

/* A domain that is gone needs nothing; what is no lock of ours is left alone. */
static void test_undo_of_strangers(void **state) {
    const struct fixture *fixture = *state;
    struct th_uuid uuid = {.bytes = {1, 2, 3}};
    struct th_domain_lock lock = TH_DOMAIN_LOCK_NONE;
    char path[160];
    int fd;

    assert_int_equal(th_agent_libvirt_undo(fixture->virt, fixture->connection, fixture->locks), 0);
    assert_int_equal(th_domain_lock_take(&lock, fixture->locks, &uuid), 0);
    assert_int_equal(th_domain_lock_mark(&lock), 0);
    th_domain_lock_release(&lock, false);
    snprintf(path, sizeof(path), "%s/stranger", fixture->locks);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(th_agent_libvirt_undo(fixture->virt, fixture->connection, fixture->locks), 1);
    assert_int_equal(unlink(path), 0);
}

static void test_folder_of_locks(void **state) {
    const struct fixture *fixture = *state;
    struct th_domain_lock lock = TH_DOMAIN_LOCK_NONE;
    struct stat status;
    char path[100];

    assert_int_equal(th_domain_lock_take(&lock, fixture->locks, &fixture->uuid), 0);
    assert_int_equal(stat(fixture->locks, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    th_domain_lock_release(&lock, true);
    th_domain_lock_release(&lock, true);

    snprintf(path, sizeof(path), "%s/link", fixture->folder);
    assert_int_equal(symlink(fixture->locks, path), 0);
    assert_true(th_domain_lock_take(&lock, path, &fixture->uuid) < 0);
    unlink(path);
    snprintf(path, sizeof(path), "%s/no/locks", fixture->folder);
    assert_int_equal(th_domain_lock_take(&lock, path, &fixture->uuid), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_open_refuses),
        TEST(test_open_with_password),
        TEST(test_get_and_set),
        TEST(test_paused),
        TEST(test_handoff_over_libvirt),
        TEST(test_run_keeps_its_deadline),
        TEST(test_meaning_of_errors),
        TEST(test_calls_that_fail),
        TEST(test_timeout_is_set_and_set_back),
        TEST(test_begin_that_fails_leaves_nothing),
        TEST(test_one_at_a_time),
        TEST(test_end_that_fails_leaves_the_mark),
        TEST(test_undo_after_a_crash),
        TEST(test_undo_of_strangers),
        TEST(test_folder_of_locks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
