package archive

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// s3 is as much of S3's protocol, on the path style, as an archive needs: PUT, GET, HEAD
// and ListObjectsV2, without signatures. It shows that our bucket speaks it, not that S3
// does what its makers say.
type s3 struct {
	server *httptest.Server

	mu      sync.Mutex
	objects map[string][]byte
	// refuse, if set, is asked before every PUT.
	refuse func(key string) bool
}

func startS3(t *testing.T) *s3 {
	t.Helper()
	// The client wants keys; this server does not look at them.
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	s := &s3{objects: map[string][]byte{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// url is that of a bucket of the server.
func (s *s3) url(bucket string, more ...string) string {
	query := append([]string{"region=us-east-1", "use_path_style=true", "endpoint=" + s.server.URL}, more...)
	return "s3://" + bucket + "?" + strings.Join(query, "&")
}

// ServeHTTP implements http.Handler.
func (s *s3) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, key, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	switch {
	case q.Method == http.MethodGet && key == "":
		s.list(w, q.URL.Query().Get("prefix"))
	case q.Method == http.MethodPut:
		s.put(w, q, key)
	case q.Method == http.MethodGet || q.Method == http.MethodHead:
		s.get(w, q, key)
	default:
		http.Error(w, "this server does not know "+q.Method, http.StatusNotImplemented)
	}
}

func (s *s3) put(w http.ResponseWriter, q *http.Request, key string) {
	data, err := io.ReadAll(q.Body)
	if err == nil && strings.Contains(q.Header.Get("Content-Encoding"), "aws-chunked") {
		data, err = unchunked(data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.refuse != nil && s.refuse(key) {
		http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		return
	}
	s.objects[key] = data
	w.Header().Set("ETag", etag(data))
}

// unchunked takes a body from the frames of aws-chunked: a length in hexadecimal, the data,
// until the length is 0.
func unchunked(body []byte) (data []byte, err error) {
	for {
		line, rest, _ := strings.Cut(string(body), "\r\n")
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || int(n) > len(rest) {
			return nil, fmt.Errorf("a frame of %q bytes, and %d are left", size, len(rest))
		}
		if n == 0 {
			return data, nil
		}
		data, body = append(data, rest[:n]...), []byte(strings.TrimPrefix(rest[n:], "\r\n"))
	}
}

func (s *s3) get(w http.ResponseWriter, q *http.Request, key string) {
	data, ok := s.objects[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		if q.Method == http.MethodGet {
			fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		}
		return
	}
	w.Header().Set("ETag", etag(data))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	if q.Method == http.MethodGet {
		w.Write(data)
	}
}

func etag(data []byte) string {
	sum := md5.Sum(data)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (s *s3) list(w http.ResponseWriter, prefix string) {
	type object struct {
		Key, ETag, LastModified string
		Size                    int
	}
	var answer struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		KeyCount    int
		Contents    []object
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			answer.Contents = append(answer.Contents, object{key, etag(s.objects[key]), "2006-01-02T15:04:05Z", len(s.objects[key])})
		}
	}
	answer.KeyCount = len(answer.Contents)
	w.Header().Set("Content-Type", "application/xml")
	if err := xml.NewEncoder(w).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// TestS3Refuses puts a run where one object cannot be written. The error names it, and there
// is no manifest.
func TestS3Refuses(t *testing.T) {
	s := startS3(t)
	s.refuse = func(key string) bool { return strings.HasPrefix(key, "events/") }
	b := open(t, s.url("lab"))
	_, err := b.Put(t.Context(), small())
	if err == nil || !strings.Contains(err.Error(), "events/r-7f3c2a10") {
		t.Fatalf("the error is %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		if strings.HasPrefix(key, "manifests/") {
			t.Errorf("there is %s", key)
		}
	}
}
