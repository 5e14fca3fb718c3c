package identity_test

import (
	"os"
	"path/filepath"
	"testing"

	"syncline/proto/identity"
)

// TestGolden reads certificates of the first form that were issued once, and are never
// written again: what is on disks in labs must stay readable.
func TestGolden(t *testing.T) {
	for _, role := range identity.Roles {
		name := "x-" + role.String()
		certs, err := identity.ParseCertificates(readFile(t, filepath.Join("testdata", "v1", name+".crt")))
		if err != nil {
			t.Fatal(err)
		}
		if who, err := identity.FromCertificate(certs[0]); err != nil || who != (identity.Identity{Cluster: "lab-1", Role: role, Name: name}) {
			t.Errorf("%s is of %v (%v)", name, who, err)
		}
		if _, err := identity.ClusterFromAuthority(certs[0]); err == nil {
			t.Errorf("%s is taken for an authority", name)
		}
	}
	certs, err := identity.ParseCertificates(readFile(t, filepath.Join("testdata", "v1", "ca.crt")))
	if err != nil {
		t.Fatal(err)
	}
	if cluster, err := identity.ClusterFromAuthority(certs[0]); err != nil || cluster != "lab-1" {
		t.Errorf("the authority is of %q (%v)", cluster, err)
	}
	if _, err := identity.FromCertificate(certs[0]); err == nil {
		t.Error("the authority is taken for somebody")
	}
}

// FuzzParseCertificates holds that files of a stranger give certificates or an error, and
// that what a certificate says of its owner is never more than an identity.
func FuzzParseCertificates(f *testing.F) {
	samples, err := filepath.Glob("testdata/v1/*.crt")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, name := range samples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := identity.ParseCertificates(text)
		if err != nil {
			return
		}
		if len(certs) == 0 {
			t.Fatal("neither certificates nor an error")
		}
		for _, c := range certs {
			if who, err := identity.FromCertificate(c); err == nil {
				if again, err := identity.Parse(who.URI()); err != nil || again != who {
					t.Errorf("a certificate is of %q", who.URI())
				}
			}
		}
	})
}
