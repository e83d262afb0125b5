package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// nativeAt rewrites blocks of the Native format from revision 0, which is all that libchdb writes,
// to the protocol revision that the client reads. Revision 0 lacks the time zone of a DateTime
// column: types returns the types of all columns, or nil where it cannot tell.
func nativeAt(revision uint64, data []byte, types func() []string) ([]byte, error) {
	r := chproto.NewReader(bytes.NewReader(data))
	var out chproto.Buffer
	types = sync.OnceValue(types)
	for {
		block := proto.NewBlock()
		err := block.Decode(r, 0)
		if errors.Is(err, io.EOF) && block.Columns == nil {
			return out.Buf, nil
		}
		if err == nil {
			giveZones(block, types)
			err = encodeBlock(block, &out, revision)
		}
		if err != nil {
			return nil, fmt.Errorf("translate the result to the client's revision %d of the Native format: %w", revision, err)
		}
	}
}

// giveZones gives the DateTime columns of block their time zones.
func giveZones(block *proto.Block, types func() []string) {
	for i, c := range block.Columns {
		if c.Type() != "DateTime" {
			continue
		}
		if all := types(); len(all) == len(block.Columns) && strings.HasPrefix(all[i], "DateTime(") {
			block.Columns[i] = zoned{c, column.Type(all[i])}
		}
	}
}

// zoned is a column of another time zone, which changes nothing in its values.
type zoned struct {
	column.Interface
	zone column.Type
}

func (z zoned) Type() column.Type { return z.zone }

func encodeBlock(block *proto.Block, out *chproto.Buffer, revision uint64) error {
	if block.Rows() > 0 {
		return block.Encode(out, revision)
	}
	// Encode would write the state prefix of LowCardinality columns, which no reader expects
	// of a block without rows.
	if err := block.EncodeHeader(out, revision); err != nil {
		return err
	}
	for i, column := range block.Columns {
		out.PutString(block.ColumnsNames()[i])
		out.PutString(string(column.Type()))
		if revision >= proto.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION {
			out.PutBool(false)
		}
	}
	return nil
}

// frames returns data in ClickHouse's own compressed frames of up to 1 MiB each.
func frames(data []byte, method compress.Method) ([]byte, error) {
	w := compress.NewWriter(compress.LevelZero, method)
	var out []byte
	for len(data) > 0 {
		n := min(len(data), 1<<20)
		if err := w.Compress(data[:n]); err != nil {
			return nil, fmt.Errorf("compress the result: %w", err)
		}
		out, data = append(out, w.Data...), data[n:]
	}
	return out, nil
}

// frameReader reads such frames. It differs from compress.Reader in that it ends with a plain io.EOF.
type frameReader struct{ *compress.Reader }

func (r frameReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}
