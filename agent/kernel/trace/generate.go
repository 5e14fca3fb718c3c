package trace

// The programs are compiled once, by whoever changes them, and are committed: neither
// building nor running syncline needs a compiler of BPF. It takes clang 14, llvm-strip
// and libbpf's headers (Debian: clang llvm libbpf-dev); make bpf compares.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -no-global-types -type record -type segment_record -type count programs bpf/trace.bpf.c -- -O2 -Wall -Werror
