package peer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// maxWanted bounds the chunks of one request.
	maxWanted = 65_536
	// messageBytes of chunks make a message: small chunks share one, and one more of the
	// greatest size still fits what gRPC receives.
	messageBytes = 256 << 10
)

var _ store.Source = (*Client)(nil)

// Fetch asks another controller for chunks. It implements store.Source.
func (c *Client) Fetch(ctx context.Context, from store.Peer, want store.Wanted, yield func(store.Chunk) error) error {
	conn, err := c.conn(bulk, from.Address)
	if err != nil {
		return err
	}
	// The stream ends with the call, whatever yield says.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fail := func(err error) error {
		return fmt.Errorf("fetch chunks of %s from node %s at %s: %w", want.Agent, from.ID, from.Address, said{err})
	}
	stream, err := synclinev1.NewPeerFilesServiceClient(conn).FetchChunks(ctx, &synclinev1.FetchChunksRequest{
		RunId: want.RunID, Agent: want.Agent, Incarnation: want.Incarnation, Sequences: want.Sequences,
	})
	if err != nil {
		return fail(err)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		for _, f := range r.Chunks {
			err := yield(store.Chunk{
				RunID: want.RunID, Agent: want.Agent, Incarnation: want.Incarnation, Sequence: f.GetSequence(),
				FirstEvent: f.GetFirstEvent(), Events: f.GetEvents(), Data: f.GetData(), CRC32C: f.GetCrc32C(),
			})
			if err != nil {
				return err
			}
		}
	}
}

// files serves what Fetch asks for.
type files struct {
	synclinev1.UnimplementedPeerFilesServiceServer
	Server
}

func (s files) FetchChunks(r *synclinev1.FetchChunksRequest, to grpc.ServerStreamingServer[synclinev1.FetchChunksResponse]) error {
	if s.Caller != nil {
		if _, err := s.Caller(to.Context()); err != nil {
			return status.Error(codes.Unauthenticated, err.Error())
		}
	}
	if len(r.Sequences) > maxWanted {
		return status.Errorf(codes.InvalidArgument, "%d chunks at once, at most %d are given", len(r.Sequences), maxWanted)
	}
	want := store.Wanted{RunID: r.RunId, Agent: r.Agent, Incarnation: r.Incarnation, Sequences: r.Sequences}
	next, size := &synclinev1.FetchChunksResponse{}, 0
	err := s.Store.Serve(to.Context(), want, func(c store.Chunk) error {
		next.Chunks = append(next.Chunks, &synclinev1.FileChunk{
			Sequence: c.Sequence, FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data, Crc32C: c.CRC32C,
		})
		if size += len(c.Data); size < messageBytes {
			return nil
		}
		err := to.Send(next)
		next, size = &synclinev1.FetchChunksResponse{}, 0
		return err
	})
	if err == nil && len(next.Chunks) > 0 {
		err = to.Send(next)
	}
	switch {
	case errors.Is(err, store.ErrUnknownRun):
		return status.Error(codes.NotFound, err.Error())
	case to.Context().Err() != nil:
		return status.FromContextError(to.Context().Err()).Err()
	case err != nil:
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}
