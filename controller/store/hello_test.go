package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// goldenHello is the hello of version 1, byte for byte.
const goldenHello = "534c5231" + "001d" + "03" + "6c6162" + "02" + "6e31" + "09" + "6469736b2d6f6e6531" + "02" + "6e32" + "08" + "6469736b2d74776f"

func TestHelloIsWrittenForEver(t *testing.T) {
	want := hello{cluster: "lab", from: "n1", fromDisk: "disk-one1", to: "n2", toDisk: "disk-two"}
	b := must[[]byte](t)(want.marshal())
	if got := hex.EncodeToString(b); got != goldenHello {
		t.Errorf("it is written as\n%s, and was\n%s", got, goldenHello)
	}
	got := must[hello](t)(readHello(bytes.NewReader(must[[]byte](t)(hex.DecodeString(goldenHello)))))
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestHelloAndBack(t *testing.T) {
	name := rapid.StringMatching(`[ -~]{0,64}`)
	rapid.Check(t, func(t *rapid.T) {
		want := hello{
			cluster: name.Draw(t, "cluster"), from: name.Draw(t, "from"), fromDisk: name.Draw(t, "disk"),
			to: name.Draw(t, "to"), toDisk: name.Draw(t, "its disk"),
		}
		b, err := want.marshal()
		if err != nil {
			t.Fatal(err)
		}
		after := []byte("raft")
		r := bytes.NewReader(append(b, after...))
		got, err := readHello(r)
		if err != nil || got != want {
			t.Fatalf("%+v became %+v, %v", want, got, err)
		}
		if rest, _ := io.ReadAll(r); !bytes.Equal(rest, after) {
			t.Fatalf("what comes after it is %q, want %q", rest, after)
		}
	})
	if _, err := (hello{cluster: strings.Repeat("x", MaxNameBytes+1)}).marshal(); err == nil {
		t.Error("a name that is too long was written")
	}
}

// FuzzHello: what a stranger says is a hello that is written just so, or refused.
func FuzzHello(f *testing.F) {
	f.Add([]byte(must[[]byte](f)(hex.DecodeString(goldenHello))))
	f.Add([]byte("SLR1\x00\x05\x00\x00\x00\x00\x00"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := h.marshal()
		if err != nil || !bytes.HasPrefix(b, again) {
			t.Fatalf("%q was read as %+v, which is written as %q, %v", b, h, again, err)
		}
	})
}

// FuzzAnswer: an answer is a refusal or a welcome, and never longer than it may be.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("SLA1\x00\x00"))
	f.Add([]byte("SLA1\x00\x02no"))
	f.Fuzz(func(t *testing.T, b []byte) {
		refusal, err := readAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeAnswer(&again, refusal); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
			t.Fatalf("%q was read as %q, which is written as %q", b, refusal, again.Bytes())
		}
	})
}

func TestClusterFileOfVersion1(t *testing.T) {
	b := must[[]byte](t)(os.ReadFile("testdata/cluster.v1"))
	cluster, joined, err := parseCluster(string(b))
	if err != nil || cluster != "c-00112233445566778899aabbccddeeff" || !joined {
		t.Errorf("cluster %q, joined %v, %v", cluster, joined, err)
	}
	dir := t.TempDir()
	if err := writeCluster(dir, cluster, joined); err != nil {
		t.Fatal(err)
	}
	if got := must[[]byte](t)(os.ReadFile(dir + "/" + clusterFile)); !bytes.Equal(got, b) {
		t.Errorf("it is written as %q, and was %q", got, b)
	}
	newer := strings.Replace(string(b), "cluster 1", "cluster 2", 1)
	if _, _, err := parseCluster(newer); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "its version is 2, and this program reads 1; start the version of the program that wrote it") {
		t.Errorf("a newer version: %v", err)
	}
	for i := range b {
		if _, _, err := parseCluster(string(b[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d bytes of it: %v, want ErrDamaged", i, err)
		}
	}
}

// FuzzClusterFile: the file is one that is written just so, or damaged.
func FuzzClusterFile(f *testing.F) {
	f.Add(string(must[[]byte](f)(os.ReadFile("testdata/cluster.v1"))))
	f.Add("syncline cluster 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		cluster, joined, err := parseCluster(text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !strings.HasPrefix(err.Error(), "its version is ") {
				t.Fatalf("an error without ErrDamaged: %v", err)
			}
			return
		}
		dir := t.TempDir()
		if err := writeCluster(dir, cluster, joined); err != nil {
			t.Fatal(err)
		}
		if got := must[[]byte](t)(os.ReadFile(dir + "/" + clusterFile)); string(got) != text {
			t.Fatalf("%q was read, and is written as %q", text, got)
		}
	})
}

func TestIdentityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first := must[Identity](t)(Identify(dir, "n1"))
	if !validUUID(first.Disk) || first.Cluster != "" {
		t.Errorf("%+v", first)
	}
	if again := must[Identity](t)(Identify(dir, "")); again != first {
		t.Errorf("%+v, then %+v", first, again)
	}
	if _, err := Identify(dir, "n2"); err == nil {
		t.Error("a directory changed its node's id")
	}
	if _, err := Identify(t.TempDir(), "n@1"); err == nil {
		t.Error("an id with '@' was taken")
	}
	if err := JoinCluster(dir, "one"); err != nil {
		t.Fatal(err)
	}
	if err := JoinCluster(dir, "one"); err != nil {
		t.Errorf("joining again: %v", err)
	}
	if err := JoinCluster(dir, "two"); err == nil || !strings.Contains(err.Error(), "never made one") {
		t.Errorf("joining another cluster: %v", err)
	}
	if err := os.WriteFile(dir+"/"+diskFile, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identify(dir, ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("a disk without a UUID: %v, want ErrDamaged", err)
	}
}
