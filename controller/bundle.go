package controller

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller/export"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// bundlePiece is how much of a bundle one message has.
const bundlePiece = 256 << 10

// ExportRun sends a run as a bundle. It reads the store chunk by chunk and waits for
// whoever receives, so that a large run takes no memory.
func (s *runReader) ExportRun(q *synclinev1.ExportRunRequest, stream grpc.ServerStreamingServer[synclinev1.ExportRunResponse]) error {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return err
	}
	if len(run.Seal) == 0 {
		return status.Errorf(codes.FailedPrecondition, "run %s is %s and not sealed yet: a bundle is of a run that never changes again; it is sealed when it is over, or after: syncline cancel %[1]s", run.ID, run.State)
	}
	w := bufio.NewWriterSize(bundleStream{stream}, bundlePiece)
	err = writeBundle(w, s.records, run, s.records.version)
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil || status.Code(err) != codes.Unknown:
		return err
	case errors.Is(err, export.ErrLimit):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return readStatus(err)
}

// bundleStream is a stream of pieces of a file as an io.Writer.
type bundleStream struct {
	stream grpc.ServerStreamingServer[synclinev1.ExportRunResponse]
}

// Write sends data, in pieces if it is long.
func (s bundleStream) Write(data []byte) (int, error) {
	for at := 0; at < len(data); at += bundlePiece {
		piece := data[at:min(at+bundlePiece, len(data))]
		if err := s.stream.Send(&synclinev1.ExportRunResponse{Data: piece}); err != nil {
			return at, err
		}
	}
	return len(data), nil
}

// writeBundle writes a sealed run as a bundle.
func writeBundle(w io.Writer, k keeper, run store.Run, version string) error {
	record, err := recordJSON(run)
	if err != nil {
		return fmt.Errorf("the record of run %s: %w", run.ID, err)
	}
	contents := export.Contents{
		Run: run.ID, WrittenBy: "syncline " + version, Record: record, Source: run.Source,
		Chunks: func(yield func(export.Chunk) error) error {
			return k.Chunks(run.ID, func(c store.Chunk) error {
				return yield(export.Chunk{
					Agent: c.Agent, Incarnation: c.Incarnation, Sequence: c.Sequence,
					FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data,
				})
			})
		},
	}
	if run.EndedNs > 0 {
		contents.Ended = time.Unix(0, run.EndedNs)
	}
	return export.WriteBundle(w, contents)
}

// recordJSON is what a bundle has of a run beside its events and its experiment. The
// spacing of protojson changes from build to build on purpose, so it is taken out; without
// it hosts that are alike lie near enough to each other to be compressed together.
func recordJSON(run store.Run) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(recordToProto(run))
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Compact(&text, raw); err != nil {
		return nil, err
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}
