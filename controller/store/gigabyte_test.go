package store

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var gigabyte = flag.Bool("store.gigabyte", false, "make stores with 1 GiB of events, and measure how long they take to restart and to be copied to a blank node")

// gigabyteEnv makes the test binary a child that does one thing with a store, "fill" or
// "restart", in the directory behind it, with chunks of so many bytes.
const gigabyteEnv = "SYNCLINE_STORE_GIGABYTE"

const (
	gib          = 1 << 30
	gigabyteRun  = "r-gigabyte"
	fillingAgent = 64
)

// gigabyteChild prints one line when it is done, and waits to be killed.
func gigabyteChild(job string) {
	var dir, what string
	var size int
	if _, err := fmt.Sscan(job, &what, &size, &dir); err != nil {
		panic(err)
	}
	began := time.Now()
	s, err := Open(Config{Dir: dir})
	if err == nil {
		err = s.WaitLeader(context.Background())
	}
	if err == nil && what == "fill" {
		err = fillGigabyte(s, size)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	took := time.Since(began)
	i := s.Inventory()
	fmt.Println(took.Milliseconds(), peakRSS(), i.Chunks, i.Bytes, i.LackingChunks)
	select {}
}

// peakRSS is the most memory that this process has had, in kB, proc_pid_status(5).
func peakRSS() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	var kb int
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscan(after, &kb); err != nil {
		panic(err)
	}
	return kb
}

// fillGigabyte appends 1 GiB in chunks of a size, of as many agents at once as append.
func fillGigabyte(s *Store, size int) error {
	ctx := context.Background()
	if _, err := s.CreateRun(ctx, "req-gigabyte", Run{ID: gigabyteRun, Experiment: "flood"}); err != nil {
		return err
	}
	total := gib / size
	var wg sync.WaitGroup
	errs := make(chan error, fillingAgent)
	for a := range fillingAgent {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(a), 1))
			data := make([]byte, size)
			for n := a; n < total; n += fillingAgent {
				for i := 0; i+8 <= len(data); i += 8 {
					v := r.Uint64()
					for j := range 8 {
						data[i+j] = byte(v >> (8 * j))
					}
				}
				if _, err := s.AppendChunk(ctx, benchChunk(gigabyteRun, fmt.Sprint("vm", a), uint64(n/fillingAgent)+1, size/6, data)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// runGigabyte runs a child until it has printed its line, and kills it with SIGKILL.
func runGigabyte(t *testing.T, what string, size int, dir string) (ms, kb int, chunks, bytes, lacking uint64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", gigabyteEnv, what, size, dir))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &ms, &kb, &chunks, &bytes, &lacking)
	}
	child.Process.Kill()
	child.Wait()
	if err != nil {
		t.Fatalf("%s: %v: %q", what, err, line)
	}
	return ms, kb, chunks, bytes, lacking
}

// TestRestartWithAGigabyte kills a node right after it took the last of 1 GiB, and starts
// it again: in at most 5 s, with at most 300 MB of memory.
func TestRestartWithAGigabyte(t *testing.T) {
	if !*gigabyte {
		t.Skip("takes 1.5 GiB of disk and a minute; run it with -store.gigabyte")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from /proc, which only Linux has")
	}
	for _, size := range []int{5600, 45_000, 256 << 10} {
		t.Run(fmt.Sprint("chunks of ", size), func(t *testing.T) {
			dir := t.TempDir()
			ms, kb, _, _, _ := runGigabyte(t, "fill", size, dir)
			t.Logf("filled in %d ms, at most %d MB of memory", ms, kb/1024)
			ms, kb, chunks, bytes, lacking := runGigabyte(t, "restart", size, dir)
			info, err := os.Stat(dir + "/" + logName)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("restarted in %d ms, at most %d MB of memory, %d chunks of %d MB; the log has %d MB", ms, kb/1024, chunks, bytes>>20, info.Size()>>20)
			if want := uint64(gib / size); chunks != want || lacking != 0 {
				t.Errorf("%d chunks after the restart, %d of them lacking; want %d and none", chunks, lacking, want)
			}
			if ms > 5000 || kb > 300_000 {
				t.Errorf("the restart took %d ms and %d kB, want at most 5000 ms and 300000 kB", ms, kb)
			}
		})
	}
}
