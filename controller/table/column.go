package table

import (
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// column is one column of a table.
type column struct {
	name     string
	optional bool
	node     parquet.Node
}

// The kinds of columns that there are. Texts that repeat go through a dictionary; numbers
// that grow, as times and numbers of events do, are kept as differences.
func textColumn(name string) column {
	return column{name: name, node: encoded(parquet.String(), &parquet.RLEDictionary)}
}
func int64Column(name string) column  { return column{name: name, node: parquet.Int(64)} }
func uint64Column(name string) column { return column{name: name, node: parquet.Uint(64)} }
func risingColumn(name string) column {
	return column{name: name, node: encoded(parquet.Int(64), &parquet.DeltaBinaryPacked)}
}
func boolColumn(name string) column {
	return column{name: name, node: parquet.Leaf(parquet.BooleanType)}
}
func bytesColumn(name string) column {
	return column{name: name, node: parquet.Leaf(parquet.ByteArrayType)}
}

// momentColumn is a moment of the calendar: nanoseconds since 1970, UTC.
func momentColumn(name string) column {
	return column{name: name, node: parquet.Timestamp(parquet.Nanosecond)}
}

func encoded(n parquet.Node, as encoding.Encoding) parquet.Node { return parquet.Encoded(n, as) }

// orNull is the column with room for rows that have no value in it.
func (c column) orNull() column {
	c.optional, c.node = true, parquet.Optional(c.node)
	return c
}

// ordered is a group whose fields stand as they were listed; parquet.Group has them by
// name.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

// Fields implements parquet.Node.
func (o ordered) Fields() []parquet.Field { return o.fields }

// GoType implements parquet.Node.
func (o ordered) GoType() reflect.Type { return o.Group.GoType() }

func rootOf(columns []column) parquet.Node {
	group := parquet.Group{}
	for _, c := range columns {
		group[c.name] = c.node
	}
	named := map[string]parquet.Field{}
	for _, f := range group.Fields() {
		named[f.Name()] = f
	}
	root := ordered{Group: group}
	for _, c := range columns {
		root.fields = append(root.fields, named[c.name])
	}
	return root
}

// text is a text as a reader of Parquet must find it: UTF-8.
func text(s string) parquet.Value {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return parquet.ByteArrayValue([]byte(s))
}
