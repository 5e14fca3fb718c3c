package controller

import (
	"bufio"
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// SnapshotCluster sends a backup of everything. It reads chunk by chunk and waits for whoever
// receives, so that it takes no more memory than the index of the chunks.
func (s *clusterService) SnapshotCluster(q *synclinev1.SnapshotClusterRequest, stream grpc.ServerStreamingServer[synclinev1.SnapshotClusterResponse]) error {
	st := s.controller.store
	to := &backupStream{stream: stream}
	w := bufio.NewWriterSize(to, bundlePiece)
	// A controller that ends waits for nobody who is slow.
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.controller.life, func() { cancel(errEnding) })()
	b, err := st.Backup(ctx, w, store.BackupConfig{Incomplete: q.Incomplete, Progress: func(done, all uint64) {
		to.done, to.total = done, all
	}})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return s.backupStatus(stream.Context(), err)
	}
	s.controller.cfg.Log.Info("a backup of the cluster was sent", "entry", b.AppliedIndex, "runs", b.Runs, "chunks", b.Chunks, "bytes", b.Bytes, "missing", b.Missing)
	return nil
}

var errEnding = errors.New("this controller ends; ask another one, or again")

func (s *clusterService) backupStatus(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, errEnding):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrAbsent):
		return status.Error(codes.DataLoss, err.Error())
	}
	return s.status(err)
}

// backupStream is a stream of pieces of a backup as an io.Writer.
type backupStream struct {
	stream      grpc.ServerStreamingServer[synclinev1.SnapshotClusterResponse]
	done, total uint64
}

// Write sends data, in pieces if it is long.
func (s *backupStream) Write(data []byte) (int, error) {
	for at := 0; at < len(data); at += bundlePiece {
		piece := data[at:min(at+bundlePiece, len(data))]
		if err := s.stream.Send(&synclinev1.SnapshotClusterResponse{Data: piece, DoneBytes: s.done, TotalBytes: s.total}); err != nil {
			return at, err
		}
	}
	return len(data), nil
}
