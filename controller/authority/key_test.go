package authority

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGoldenKey reads a key of an authority as it was written once. Nobody's certificate is
// signed with it.
func TestGoldenKey(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseKey("ca.key", golden)
	if err != nil {
		t.Fatal(err)
	}
	again, err := encodeKey(key)
	if err != nil || string(again) != string(golden) {
		t.Errorf("it is written as %q (%v)", again, err)
	}
}

// FuzzKey: a file of a key, private or public, gives a key that can be written again, or an error.
func FuzzKey(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1", "ca.key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := parseKey("key", text); err == nil {
			again, err := encodeKey(key)
			if err != nil {
				t.Fatalf("a key is read, and cannot be written: %v", err)
			}
			if same, err := parseKey("key", again); err != nil || !same.Equal(key) {
				t.Fatalf("a key is written as another one (%v)", err)
			}
		}
		key, err := parsePublicKey("key", text)
		if (key == nil) == (err == nil) {
			t.Fatalf("a public key is %v, with error %v", key, err)
		}
	})
}
