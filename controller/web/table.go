package web

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
)

// List is a list in JSON even if it is nil.
type List[T any] []T

// MarshalJSON writes an array.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Table is a list of many alike, in JSON a column for each field of T: what is the same in
// each row then stands together, which packs and parses better. A column that is zero
// throughout is left out. T is a struct of integers, floats, booleans, strings, pointers to
// integers and lists.
type Table[T any] []T

// MarshalJSON writes {"n": the length, "columns": {name: array}}.
func (t Table[T]) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"n":`)
	b.WriteString(strconv.Itoa(len(t)))
	b.WriteString(`,"columns":{`)
	rows := reflect.ValueOf([]T(t))
	first := true
	for field := range reflect.TypeFor[T]().NumField() {
		if isZeroColumn(rows, field) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteByte('"')
		b.WriteString(reflect.TypeFor[T]().Field(field).Tag.Get("json"))
		b.WriteString(`":[`)
		if err := writeColumn(&b, rows, field); err != nil {
			return nil, err
		}
		b.WriteByte(']')
	}
	b.WriteString("}}")
	return b.Bytes(), nil
}

// isZeroColumn reports whether no row says anything in a field. An empty list says nothing.
func isZeroColumn(rows reflect.Value, field int) bool {
	for i := range rows.Len() {
		v := rows.Index(i).Field(field)
		if !v.IsZero() && (v.Kind() != reflect.Slice || v.Len() > 0) {
			return false
		}
	}
	return true
}

func writeColumn(b *bytes.Buffer, rows reflect.Value, field int) error {
	var scratch []byte
	for i := range rows.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		v := rows.Index(i).Field(field)
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.Int, reflect.Int64:
			scratch = strconv.AppendInt(scratch[:0], v.Int(), 10)
			b.Write(scratch)
		case reflect.Bool:
			b.WriteString(strconv.FormatBool(v.Bool()))
		default:
			text, err := json.Marshal(v.Interface())
			if err != nil {
				return err
			}
			b.Write(text)
		}
	}
	return nil
}
