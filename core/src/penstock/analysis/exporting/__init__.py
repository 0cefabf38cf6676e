"""An analysis or a comparison as TSV, JSON and XLSX: the same tables, by the same names of columns.

The JSON of an analysis; columns are those of :mod:`penstock.analysis.exporting.tables`::

    schema              "penstock.analysis/1"
    window              from, to, seconds, overlap_pct: how much of their time several logs have in common
    count, errors_count, bytes, warmup_calls_left_out
    selection           what was chosen
    operations          a row for each operation and size bucket, and the roll-ups with size bucket ALL
    clients, endpoints  with --per-client, --per-endpoint: the same for each, over all sizes
    segments            with --segments
    errors              operation, count, error, example_key
    logs                what each log held

and of a comparison::

    schema              "penstock.comparison/1"
    verdict, sentence   better, worse, mixed, no difference shown, too few data or same; and that in words
    confidence_pct, resamples, seed
    conditions          for each --fail-if: condition, holds (null: it can't be told), found
    changes             a row for each operation, size bucket and metric
    runs, remarks       what was compared; what differs, and how it was done

Fields are added without notice; the number in ``schema`` changes when one goes or changes its meaning.
"""
