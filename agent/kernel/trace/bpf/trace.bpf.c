// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What the kernel says of a run's sockets and packets at its tracepoints, one record
// an event, in a ring that is read every few milliseconds. Nobody is woken: a wake-up an
// event would more than halve the rate of what is watched.
//
// A program asks in this order, the cheapest and the most selective first: TCP, the network
// namespace, the ports, the addresses.
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Set before the programs are loaded.

// netns is the inode of the network namespace, as in /proc/PID/ns/net.
const volatile __u32 netns;
// ports has a bit for each port of the run.
const volatile __u64 ports[1024];
// What the tracepoints of this kernel bring: an argument that is not there cannot
// even be looked at, and the verifier cuts off the branch.
const volatile bool reset_has_reason;
const volatile bool retransmit_has_error;
const volatile bool drop_has_socket;
// Numbers of drop reasons that are no drops of the run's packets; they differ from
// kernel to kernel, and are ~0 where the kernel does not have them.
const volatile __u32 consumed_reason = ~0U;
const volatile __u32 tap_reason = ~0U;
const volatile __u32 purge_reason = ~0U;

struct address {
	__u32 word[4]; // of IPv4, as ::ffff:a.b.c.d
};

// few are the addresses of all hosts of the run where they are no more than these, which
// is quicker than to look into a map.
#define FEW 8
const volatile struct address few[FEW];
const volatile __u32 few_count;

// addresses of all hosts of the run.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

// known are cookies of sockets of the run that were closed by something else than their
// owner's close. One that was refused has lost its peer by the time it is freed.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u8);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

#define KINDS 16
#define NOTES 8

// note is left by the first program of a tracepoint of an event that it has taken, for the
// second one.
struct note {
	// frame is where the kernel keeps the arguments of the event, on the stack that is being
	// used; 0 where there is no note. No two events that are under way have the same.
	__u64 frame;
	// The event is about a socket, request or packet; the kernel gives its address to another
	// one when it is freed, but never the cookie.
	__u64 about;
	__u64 cookie;
	__u64 detail;
	__u64 order;
};

// taken is what the first program of one kind has taken.
struct taken {
	struct note notes[NOTES];
	// order is how many notes were made.
	__u64 order;
	// running is not 0 while the first program is under way.
	__u64 running;
	// pointer is where scalar makes a number of one.
	__u64 pointer;
};

// count is one processor's: all records that it began, and by what became of them, so
// that begun = submitted + lost when nothing is under way; and the events, of any socket,
// that the kernel did not call the first program for.
struct count {
	__u64 begun;
	__u64 submitted;
	__u64 lost;
	__u64 nested;
	// running is how many programs are under way.
	__u64 running;
	struct taken taken[KINDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

// Kinds have the numbers of TraceKind.
enum kind {
	STATE = 1,
	RETRANSMIT,
	RETRANSMIT_SYNACK,
	RESET_SENT,
	RESET_RECEIVED,
	DESTROYED,
	ERROR,
	DROP,
	READY,
};

// An interrupt may make an event of the same kind while the program of another one is
// under way on the same processor. Since Linux 6.1 the kernel then leaves the program out
// for the second event; before, it calls it all the same. So each tracepoint has two
// programs, and the kernel calls the first and then the second. The first does the work,
// and at its end notes what it has taken. The second does the work of an event that is not
// noted: the first was left out. DESIGN.md says why that is right whenever an interrupt
// comes.
#define PROGRAM(name, tracepoint, kind)                                              \
	static __always_inline int name##_event(__u64 *ctx, volatile struct count *c);        \
	SEC("tp_btf/" #tracepoint) int name(__u64 *ctx)                              \
	{                                                                            \
		volatile struct count *c = own_count();                                    \
                                                                                     \
		if (!c || c->taken[kind].running)                                    \
			return 0;                                                    \
		c->taken[kind].running = 1;                                          \
		c->running++;                                                        \
		name##_event(ctx, c);                                                \
		note(&c->taken[kind], ctx, kind);                                    \
		c->running--;                                                        \
		c->taken[kind].running = 0;                                          \
		return 0;                                                            \
	}                                                                            \
	SEC("tp_btf/" #tracepoint) int name##_nested(__u64 *ctx)                     \
	{                                                                            \
		volatile struct count *c = own_count();                                    \
                                                                                     \
		if (!c || (!c->taken[kind].running && noted(&c->taken[kind], ctx, kind)))  \
			return 0;                                                    \
		c->running++;                                                        \
		c->nested++;                                                         \
		name##_event(ctx, c);                                                \
		c->running--;                                                        \
		return 0;                                                            \
	}                                                                            \
	static __always_inline int name##_event(__u64 *ctx, volatile struct count *c)

static __always_inline __u64 detail(__u64 *ctx, enum kind kind)
{
	switch (kind) {
	case STATE:
		return ctx[1] << 32 | ctx[2];
	case RETRANSMIT:
	case RETRANSMIT_SYNACK:
	case RESET_SENT:
		return ctx[1];
	case DROP:
		return ctx[1] ^ ctx[2] << 48;
	default:
		return 0;
	}
}

// cookie_before is a socket's cookie, 0 while it has none, and of other things.
static __always_inline __u64 cookie_before(__u64 *ctx, enum kind kind)
{
	switch (kind) {
	case STATE:
	case RETRANSMIT:
	case RESET_RECEIVED:
	case DESTROYED:
	case ERROR:
	case READY:
		return ((struct sock *)ctx[0])->__sk_common.skc_cookie.counter;
	default:
		return 0;
	}
}

// number is a pointer that is only compared. The compiler is not to know what else is equal to
// it, or it would read through that, which is no pointer to the verifier.
static __always_inline __u64 number(__u64 pointer)
{
	asm volatile("" : "+r"(pointer));
	return pointer;
}

// usual is the place of the notes of one stack. Events of one kind that are under way at once
// on a processor are on two stacks, a task's and that of interrupts, where the kernel has one;
// all other places are for those that meet in one all the same.
static __always_inline __u32 usual(__u64 frame)
{
	return frame >> 14 & (NOTES - 1);
}

// scalar is a pointer as a number that can be reckoned with, which it is for the verifier once
// it was in a map. Whoever comes in between puts back what was there.
static __always_inline __u64 scalar(volatile struct taken *t, __u64 pointer)
{
	__u64 before = t->pointer, n;

	t->pointer = pointer;
	n = t->pointer;
	t->pointer = before;
	return n;
}

static __always_inline void write(volatile struct note *n, volatile struct taken *t, __u64 *ctx, enum kind kind)
{
	// An interrupt may come in between, with a second program that looks for its own.
	n->frame = 0;
	n->about = number(ctx[0]);
	n->cookie = cookie_before(ctx, kind);
	n->detail = detail(ctx, kind);
	n->order = ++t->order;
	n->frame = number((__u64)ctx);
}

// make_room moves the note in the usual place of a stack to that of a note with the same
// frame, or else to a free one, or else to the oldest, since those of events that are under
// way are the newest. So what nobody has looked for does not stay in the way.
__noinline int make_room(struct taken *t, __u32 from)
{
	__u64 oldest = ~0ULL, frame, at;
	__u32 place = 0;

	if (!t)
		return 0;
	from &= NOTES - 1;
	frame = t->notes[from].frame;
	for (__u32 i = 0; i < NOTES; i++) {
		if (i == from)
			continue;
		at = t->notes[i].frame;
		if (at == frame) {
			place = i;
			break;
		}
		at = at ? t->notes[i].order : 0;
		if (at < oldest) {
			oldest = at;
			place = i;
		}
	}
	place &= NOTES - 1;
	t->notes[place] = t->notes[from];
	return 0;
}

// note notes an event in the usual place of its stack. A note with the same frame that
// nobody has looked for is there too, unless two stacks share the place, and is overwritten.
static __always_inline void note(volatile struct taken *t, __u64 *ctx, enum kind kind)
{
	__u64 frame = scalar(t, (__u64)ctx), at;
	__u32 place = usual(frame);

	at = t->notes[place].frame;
	if (at && at != frame)
		make_room((struct taken *)t, place);
	write(&t->notes[place], t, ctx, kind);
}

// elsewhere looks for the note of a frame in every place; NOTES if there is none.
__noinline __u32 elsewhere(struct taken *t, __u64 frame)
{
	if (!t)
		return NOTES;
	for (__u32 i = 0; i < NOTES; i++) {
		if (t->notes[i].frame == frame)
			return i;
	}
	return NOTES;
}

// noted takes the note of an event away, if there is one. A socket of the run that was noted
// had its cookie by then; another one may have got it since.
static __always_inline bool noted(volatile struct taken *t, __u64 *ctx, enum kind kind)
{
	__u64 frame = scalar(t, (__u64)ctx), cookie;
	__u32 place = usual(frame);
	bool same;

	if (t->notes[place].frame != frame)
		place = elsewhere((struct taken *)t, frame);
	if (place >= NOTES)
		return false;
	cookie = t->notes[place].cookie;
	same = t->notes[place].about == number(ctx[0]) && t->notes[place].detail == detail(ctx, kind) &&
	       (!cookie || cookie == cookie_before(ctx, kind));
	// Not before: an interrupt may come in between, and make a note in a free place.
	t->notes[place].frame = 0;
	return same;
}

enum ends {
	// local is the socket's, peer its peer's.
	OF_SOCKET,
	// local is the packet's source, peer its destination: sent by this host, received,
	// or not known from the packet alone.
	OF_SENT,
	OF_RECEIVED,
	OF_PACKET,
};

// record is what user space reads, in the byte order of the machine; ports too. Of an
// event that is about neither a segment nor an error, that is all.
struct record {
	__u64 time_ns;
	__u64 cookie;
	struct address local;
	struct address peer;
	__u16 local_port;
	__u16 peer_port;
	__u8 kind;
	__u8 ends;
	__u8 old_state;
	__u8 state;
};

// segment_record is that of an event which is about a segment, or has a reason.
struct segment_record {
	struct record r;
	__u64 place;
	__u32 sequence;
	__u32 acknowledgment;
	__u32 payload_length;
	__u32 reason; // or errno
	__u16 flags;
	__u16 protocol;
	__u32 unused;
};

// The compiler describes to user space what something refers to.
const struct record *record_unused __attribute__((unused));
const struct segment_record *segment_record_unused __attribute__((unused));

static __always_inline struct count *own_count(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

// A softirq may come in between on the same processor, hence atomic.
static __always_inline void *reserve(volatile struct count *c, __u64 size)
{
	void *r;

	__sync_fetch_and_add(&c->begun, 1);
	r = bpf_ringbuf_reserve(&ring, size, 0);
	if (!r)
		__sync_fetch_and_add(&c->lost, 1);
	return r;
}

static __always_inline void submit(volatile struct count *c, void *r)
{
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	__sync_fetch_and_add(&c->submitted, 1);
}

static __always_inline void mapped(struct address *a, __be32 ipv4)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = ipv4;
}

static __always_inline bool unspecified(const struct address *a)
{
	__u32 low = a->word[2] | a->word[3];

	if (a->word[0] | a->word[1])
		return false;
	return !low || (a->word[2] == bpf_htonl(0xffff) && !a->word[3]);
}

static __always_inline bool port_of_run(__u16 port)
{
	return ports[port >> 6] >> (port & 63) & 1;
}

static __always_inline bool same(const volatile struct address *a, const struct address *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] &&
	       a->word[1] == b->word[1] && a->word[0] == b->word[0];
}

static __always_inline bool host_of_run(const struct address *a)
{
	// few_count is a constant to the verifier, which cuts off what is beyond.
	for (int i = 0; i < FEW; i++) {
		if (i < few_count && same(&few[i], a))
			return true;
	}
	if (few_count)
		return false;
	return bpf_map_lookup_elem(&addresses, a) != 0;
}

// fill notes the two ends of a socket, a request's too, and of a socket in TIME_WAIT
// what it has in common with those.
static __always_inline void fill(struct record *r, const struct sock_common *sk)
{
	if (sk->skc_family == AF_INET) {
		mapped(&r->local, sk->skc_rcv_saddr);
		mapped(&r->peer, sk->skc_daddr);
	} else {
		r->local.word[0] = sk->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		r->local.word[1] = sk->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		r->local.word[2] = sk->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		r->local.word[3] = sk->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		r->peer.word[0] = sk->skc_v6_daddr.in6_u.u6_addr32[0];
		r->peer.word[1] = sk->skc_v6_daddr.in6_u.u6_addr32[1];
		r->peer.word[2] = sk->skc_v6_daddr.in6_u.u6_addr32[2];
		r->peer.word[3] = sk->skc_v6_daddr.in6_u.u6_addr32[3];
	}
	r->local_port = sk->skc_num;
	r->peer_port = bpf_ntohs(sk->skc_dport);
	r->state = sk->skc_state;
}

// of_run reports whether both ends are. An end that is not filled in yet, or that
// listens on every address, is passed by the port alone.
static __always_inline bool of_run(const struct record *r)
{
	if (!port_of_run(r->local_port) && !port_of_run(r->peer_port))
		return false;
	return (unspecified(&r->local) || host_of_run(&r->local)) &&
	       (unspecified(&r->peer) || host_of_run(&r->peer));
}

static __always_inline bool here(const struct sock_common *sk)
{
	return sk->skc_net.net->ns.inum == netns &&
	       (sk->skc_family == AF_INET || sk->skc_family == AF_INET6);
}

// port_before is the port that a full socket had before it was unhashed, which takes
// skc_num from those that never bound themselves.
static __always_inline __u16 port_before(const struct sock *sk)
{
	return bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

// look fills in the record of a full TCP socket and reports whether it is the run's.
static __always_inline bool look(struct record *r, struct sock *sk)
{
	if (sk->sk_protocol != IPPROTO_TCP || !here(&sk->__sk_common))
		return false;
	fill(r, &sk->__sk_common);
	if (!r->local_port && r->state != TCP_SYN_SENT)
		r->local_port = port_before(sk);
	return of_run(r);
}

// send copies what look has found into the ring.
static __always_inline int send(volatile struct count *c, struct record *r, struct sock *sk, enum kind kind)
{
	struct record *to;

	r->time_ns = bpf_ktime_get_ns();
	r->cookie = bpf_get_socket_cookie(sk);
	r->kind = kind;
	to = reserve(c, sizeof(*to));
	if (!to)
		return 0;
	__builtin_memcpy(to, r, sizeof(*to));
	submit(c, to);
	return 0;
}

PROGRAM(state, inet_sock_set_state, STATE)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct record r = {};
	__u8 yes = 1;

	if (sk->sk_protocol != IPPROTO_TCP || !here(&sk->__sk_common))
		return 0;
	fill(&r, &sk->__sk_common);
	r.old_state = ctx[1];
	r.state = ctx[2];
	// Before the source port is chosen the old one may still stand there.
	if (!r.local_port && r.state != TCP_SYN_SENT)
		r.local_port = port_before(sk);
	if (!of_run(&r))
		return 0;
	send(c, &r, sk, STATE);
	if (r.state == TCP_CLOSE && !(sk->__sk_common.skc_flags >> SOCK_DEAD & 1))
		bpf_map_update_elem(&known, &r.cookie, &yes, BPF_ANY);
	return 0;
}

PROGRAM(destroyed, tcp_destroy_sock, DESTROYED)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct record r = {};
	__u64 cookie;

	if (!here(&sk->__sk_common))
		return 0;
	if (!look(&r, sk)) {
		// A cookie that nobody asked for is 0, and this one nobody knows.
		cookie = sk->__sk_common.skc_cookie.counter;
		if (!cookie || !bpf_map_lookup_elem(&known, &cookie))
			return 0;
	}
	return send(c, &r, sk, DESTROYED);
}

PROGRAM(reset_received, tcp_receive_reset, RESET_RECEIVED)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct record r = {};

	return look(&r, sk) ? send(c, &r, sk, RESET_RECEIVED) : 0;
}

PROGRAM(ready, sk_data_ready, READY)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct record r = {};

	return look(&r, sk) ? send(c, &r, sk, READY) : 0;
}

// send_segment copies a record of the longer form.
static __always_inline int send_segment(volatile struct count *c, struct segment_record *s, enum kind kind)
{
	struct segment_record *to;

	s->r.time_ns = bpf_ktime_get_ns();
	s->r.kind = kind;
	to = reserve(c, sizeof(*to));
	if (!to)
		return 0;
	__builtin_memcpy(to, s, sizeof(*to));
	submit(c, to);
	return 0;
}

PROGRAM(error, inet_sk_error_report, ERROR)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct segment_record s = {};

	if (!look(&s.r, sk))
		return 0;
	s.r.cookie = bpf_get_socket_cookie(sk);
	s.reason = sk->sk_err;
	return send_segment(c, &s, ERROR);
}

PROGRAM(retransmit, tcp_retransmit_skb, RETRANSMIT)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct segment_record s = {};
	struct tcp_skb_cb *tcb;

	// One that did not get away is none; older kernels do not even tell of it.
	if (retransmit_has_error && (__s32)ctx[2])
		return 0;
	if (!look(&s.r, sk))
		return 0;
	s.r.cookie = bpf_get_socket_cookie(sk);
	// In the queue of what may have to be sent again a segment has no headers.
	tcb = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	s.sequence = BPF_CORE_READ(tcb, seq);
	s.flags = BPF_CORE_READ_BITFIELD_PROBED(tcb, tcp_flags);
	if (s.flags & 16)
		s.acknowledgment = BPF_CORE_READ((struct tcp_sock *)sk, rcv_nxt);
	s.payload_length = BPF_CORE_READ(skb, len);
	s.protocol = IPPROTO_TCP;
	return send_segment(c, &s, RETRANSMIT);
}

PROGRAM(retransmit_synack, tcp_retransmit_synack, RETRANSMIT_SYNACK)
{
	struct sock *listener = (struct sock *)ctx[0];
	struct request_sock *req = (struct request_sock *)ctx[1];
	struct record r = {};

	if (listener->sk_protocol != IPPROTO_TCP || !here(&listener->__sk_common))
		return 0;
	fill(&r, &req->__req_common);
	if (!of_run(&r))
		return 0;
	// The connection that the request becomes gets this cookie.
	return send(c, &r, (struct sock *)req, RETRANSMIT_SYNACK);
}

// read copies bytes of a packet, if they are in its linear part, which ends at tail.
// What follows up to end is room, and holds what an earlier packet has left there.
#define read(to, skb, offset) \
	((offset) + sizeof(*(to)) <= BPF_CORE_READ(skb, tail) && \
	 !bpf_probe_read_kernel(to, sizeof(*(to)), BPF_CORE_READ(skb, head) + (offset)))

// transport notes ports and, of TCP, the segment. The rest is what IP says follows its
// headers.
static __always_inline bool transport(struct segment_record *s, struct sk_buff *skb, __u32 offset, __u32 rest)
{
	struct tcp_header tcp;
	__be16 udp[2];
	__u32 header;

	if (s->protocol == IPPROTO_TCP) {
		if (!read(&tcp, skb, offset))
			return false;
		header = (tcp.offset_flags >> 4) * 4;
		s->r.local_port = bpf_ntohs(tcp.source);
		s->r.peer_port = bpf_ntohs(tcp.destination);
		s->sequence = bpf_ntohl(tcp.sequence);
		s->acknowledgment = bpf_ntohl(tcp.acknowledgment);
		s->flags = tcp.flags | (tcp.offset_flags & 1) << 8;
		s->payload_length = rest > header ? rest - header : 0;
		return port_of_run(s->r.local_port) || port_of_run(s->r.peer_port);
	}
	s->payload_length = rest > 8 ? rest - 8 : 0;
	if (s->protocol == IPPROTO_UDP) {
		if (!read(&udp, skb, offset))
			return false;
		s->r.local_port = bpf_ntohs(udp[0]);
		s->r.peer_port = bpf_ntohs(udp[1]);
		return port_of_run(s->r.local_port) || port_of_run(s->r.peer_port);
	}
	return s->protocol == IPPROTO_ICMP || s->protocol == IPPROTO_ICMPV6;
}

static __always_inline bool ipv4(struct segment_record *s, struct sk_buff *skb, __u32 offset)
{
	struct ipv4_header ip;
	__u32 length, total;

	if (!read(&ip, skb, offset) || ip.version_length >> 4 != 4)
		return false;
	length = (ip.version_length & 15) * 4;
	// Of a packet in fragments the first alone has ports.
	if (length < sizeof(ip) || ip.fragment & bpf_htons(0x1fff))
		return false;
	mapped(&s->r.local, ip.source);
	mapped(&s->r.peer, ip.destination);
	if (!host_of_run(&s->r.local) || !host_of_run(&s->r.peer))
		return false;
	s->protocol = ip.protocol;
	total = bpf_ntohs(ip.total_length);
	// More than 64 KiB, from segmentation offload, says 0.
	if (!total)
		total = BPF_CORE_READ(skb, len);
	return transport(s, skb, offset + length, total > length ? total - length : 0);
}

static __always_inline bool ipv6(struct segment_record *s, struct sk_buff *skb, __u32 offset)
{
	struct ipv6_header ip;
	struct ipv6_extension x;
	__u32 rest, length;
	__u8 next;
	int i;

	if (!read(&ip, skb, offset) || (bpf_ntohl(ip.version_class_label) >> 28) != 6)
		return false;
	__builtin_memcpy(&s->r.local, ip.source, 16);
	__builtin_memcpy(&s->r.peer, ip.destination, 16);
	if (!host_of_run(&s->r.local) || !host_of_run(&s->r.peer))
		return false;
	next = ip.next;
	rest = bpf_ntohs(ip.payload_length);
	if (!rest)
		rest = BPF_CORE_READ(skb, len);
	offset += sizeof(ip);
#pragma unroll
	for (i = 0; i < 4; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			break;
		if (!read(&x, skb, offset))
			return false;
		length = (x.length + 1) * 8;
		if (next == IPPROTO_FRAGMENT) {
			if (x.fragment & bpf_htons(0xfff8))
				return false;
			length = 8;
		}
		next = x.next;
		offset += length;
		rest = rest > length ? rest - length : 0;
	}
	s->protocol = next;
	return transport(s, skb, offset, rest);
}

// parse reads a packet and reports whether it is the run's. Where IP begins the kernel
// notes when it hands the packet to IP; before, after the driver, it is where the
// data begin.
static __always_inline bool parse(struct segment_record *s, struct sk_buff *skb)
{
	__u16 offset = skb->network_header;

	s->r.ends = OF_PACKET;
	if (offset && offset != 0xffff && (ipv4(s, skb, offset) || ipv6(s, skb, offset)))
		return true;
	return false;
}

// at_data is parse for a packet whose network header nobody has noted.
static __always_inline bool at_data(struct segment_record *s, struct sk_buff *skb)
{
	__u16 noted = skb->network_header;
	__u32 offset = BPF_CORE_READ(skb, data) - BPF_CORE_READ(skb, head);

	if (offset == noted || offset > 0xffff)
		return false;
	return ipv4(s, skb, offset) || ipv6(s, skb, offset);
}

// where is the network namespace of a packet: that of its socket, of its device, of
// its route. The kernel uses the place of the device for other things while the packet
// has a socket.
static __always_inline __u32 where(struct sk_buff *skb, struct sock *sk)
{
	struct net_device *dev;
	struct dst_entry *dst;

	if (sk)
		return sk->__sk_common.skc_net.net->ns.inum;
	dev = skb->dev;
	if (!dev) {
		dst = (void *)(skb->_skb_refdst & ~1UL);
		if (!dst)
			return 0;
		dev = BPF_CORE_READ(dst, dev);
	}
	return BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

PROGRAM(reset_sent, tcp_send_reset, RESET_SENT)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct segment_record s = {};

	if (reset_has_reason)
		s.reason = ctx[2];
	// Kernels without a reason bring a segment that may be the RST itself, and
	// always a socket.
	if (reset_has_reason && skb) {
		if (!parse(&s, skb))
			return 0;
		s.r.ends = OF_RECEIVED;
	}
	if (sk) {
		if (!here(&sk->__sk_common))
			return 0;
		s.r.cookie = bpf_get_socket_cookie(sk);
		s.r.state = sk->__sk_common.skc_state;
		if (s.r.ends == OF_SOCKET) {
			fill(&s.r, &sk->__sk_common);
			if (!s.r.local_port && s.r.state != TCP_TIME_WAIT && s.r.state != TCP_NEW_SYN_RECV)
				s.r.local_port = port_before(sk);
			if (!of_run(&s.r))
				return 0;
		}
	} else if (s.r.ends == OF_SOCKET || where(skb, 0) != netns) {
		return 0;
	}
	s.protocol = IPPROTO_TCP;
	return send_segment(c, &s, RESET_SENT);
}

// local_address is a socket's own, which the socket was or will be reached at.
static __always_inline void local_address(struct address *a, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		mapped(a, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		BPF_CORE_READ_INTO(a, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
}

// direction is that of a packet with a socket: by the port that only one of the two ends
// has, or where both have the same, as after an open from both sides, by the address. Of
// a socket that is connected to itself nothing tells.
static __always_inline __u8 direction(struct segment_record *s, struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 num = BPF_CORE_READ(sk, __sk_common.skc_num);
	struct address own;

	if (s->protocol != IPPROTO_TCP && s->protocol != IPPROTO_UDP)
		return OF_PACKET;
	if (family != AF_INET && family != AF_INET6)
		return OF_PACKET;
	if (!num && s->r.state != TCP_TIME_WAIT && s->r.state != TCP_NEW_SYN_RECV)
		num = port_before(sk);
	if (s->r.local_port != s->r.peer_port) {
		if (num == s->r.local_port)
			return OF_SENT;
		return num == s->r.peer_port ? OF_RECEIVED : OF_PACKET;
	}
	local_address(&own, sk);
	if (num != s->r.local_port || same(&s->r.local, &s->r.peer))
		return OF_PACKET;
	if (same(&own, &s->r.local))
		return OF_SENT;
	return same(&own, &s->r.peer) ? OF_RECEIVED : OF_PACKET;
}

PROGRAM(drop, kfree_skb, DROP)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sock *sk = 0, *owner;
	struct segment_record s = {};

	s.place = ctx[1];
	s.reason = (__u32)ctx[2];
	if (s.reason == consumed_reason || s.reason == tap_reason)
		return 0;
	// A tap's own copy of what was sent: its loss is the tap's, not the packet's.
	if (BPF_CORE_READ_BITFIELD(skb, pkt_type) == PACKET_OUTGOING)
		return 0;
	owner = skb->sk;
	if (drop_has_socket)
		sk = (struct sock *)ctx[3];
	// Before the packet is looked at, which costs more: a busy host frees a packet of each
	// connection here, and a machine may have many namespaces.
	if (where(skb, sk ? sk : owner) != netns)
		return 0;
	if (!parse(&s, skb) && !at_data(&s, skb))
		return 0;
	if (sk) {
		if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_PACKET)
			return 0;
		s.r.ends = OF_RECEIVED;
	} else {
		sk = owner;
	}
	if (sk) {
		s.r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
		s.r.state = BPF_CORE_READ(sk, __sk_common.skc_state);
		if (s.r.ends == OF_PACKET)
			s.r.ends = direction(&s, sk);
	}
	// TCP throws away what it has taken and nobody wants any more: a FIN at least,
	// whenever the active closer is freed. What it had sent it does not count as that,
	// but a neighbour that goes away does with what waited for its address.
	if (s.reason == purge_reason && s.protocol == IPPROTO_TCP && sk && s.r.ends != OF_SENT)
		return 0;
	return send_segment(c, &s, DROP);
}
