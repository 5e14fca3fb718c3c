package controller

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxEnvironment bounds what an agent may say of its host, as it is sent. What cannot
// be compressed grows by a few bytes and still fits into what the store keeps.
const maxEnvironment = store.MaxEnvironmentBytes - 1<<10

// environmentToStore is what the store keeps of a host: the message, compressed, since
// every run keeps one a host and they are mostly the same words. One that is too big
// is replaced by the statement that it was.
func environmentToStore(host string, m *synclinev1.Environment) (store.Environment, error) {
	if size := proto.Size(m); size > maxEnvironment {
		m = environmentFailure(fmt.Sprintf("host %s told %d bytes of its environment; at most %d are kept", host, size, maxEnvironment))
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return store.Environment{}, fmt.Errorf("encode the environment of host %s: %w", host, err)
	}
	return store.Environment{Host: host, Data: environmentCodec().in.EncodeAll(raw, nil)}, nil
}

// environmentFromStore is the opposite. What cannot be read says so.
func environmentFromStore(e store.Environment) *synclinev1.Environment {
	raw, err := environmentCodec().out.DecodeAll(e.Data, nil)
	m := &synclinev1.Environment{}
	if err == nil {
		err = proto.Unmarshal(raw, m)
	}
	if err != nil {
		return environmentFailure(fmt.Sprintf("what is stored of host %s cannot be read: %v", e.Host, err))
	}
	return m
}

// environmentFailure is an environment of which nothing is known but why.
func environmentFailure(why string) *synclinev1.Environment {
	return &synclinev1.Environment{Sections: []*synclinev1.Environment_Section{{
		Name: "environment", Settings: []*synclinev1.Environment_Setting{{Name: "all of it", Failure: why}},
	}}}
}

// withEnvironments is a run as runToProto gives it, with what its hosts were like. One
// environment is some 20 KB, so only who asks for one run gets them.
func withEnvironments(r store.Run) *synclinev1.Run {
	m := runToProto(r)
	for _, e := range r.Environments {
		for _, h := range m.Hosts {
			if h.Name == e.Host {
				h.Environment = environmentFromStore(e)
			}
		}
	}
	return m
}

type environmentCoding struct {
	in  *zstd.Encoder
	out *zstd.Decoder
}

// environmentCodec is made once and used by all; EncodeAll and DecodeAll are safe for
// concurrent use and start no goroutine.
var environmentCodec = sync.OnceValue(func() environmentCoding {
	in, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true))
	if err != nil {
		panic("options of the zstd encoder: " + err.Error())
	}
	out, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxEnvironment))
	if err != nil {
		panic("options of the zstd decoder: " + err.Error())
	}
	return environmentCoding{in, out}
})
