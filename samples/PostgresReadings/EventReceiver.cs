using System.IO.Compression;
using System.Text.Json;
using Npgsql;

namespace PostgresReadings;

/// <summary>Stores the messages of the module that a consumer of Event Hubs, or of IoT Hub's built-in endpoint, receives.</summary>
public sealed class EventReceiver(ReadingTable table)
{
    // The module's batches have at most 4 MiB before compression, or batchMaxBytes if that is more.
    const int MaxBytes = 64 << 20;

    /// <summary>Returns when each event is committed, as readings or in the table <c>refused</c>. After an exception, call it again with
    /// the same events: readings that are already stored are not stored twice.</summary>
    /// <returns>How many readings were new, and what was refused, for the log.</returns>
    /// <exception cref="NpgsqlException">The database can't be used now.</exception>
    public async Task<(int Stored, IReadOnlyList<string> Refused)> StoreAsync(IEnumerable<byte[]> events, CancellationToken cancellationToken)
    {
        var stored = 0;
        var refused = new List<string>();
        foreach (var body in events)
        {
            try
            {
                stored += await StoreAsync(Batch.Parse(Unpack(body)), refused, cancellationToken);
            }
            catch (Exception exception) when (exception is FormatException or InvalidDataException)
            {
                // A retry would not help, and the later events of the partition must not wait for this one.
                await RefuseAsync(body, exception.Message, refused, cancellationToken);
            }
        }

        return (stored, refused);
    }

    /// <summary>Halves a batch that PostgreSQL can't store, until only the readings that it can't store are refused.</summary>
    async Task<int> StoreAsync(Batch batch, List<string> refused, CancellationToken cancellationToken)
    {
        try
        {
            return await table.StoreAsync(batch, cancellationToken);
        }
        catch (PostgresException exception) when (ReadingTable.IsLasting(exception))
        {
            var readings = batch.Readings;
            if (readings.Count > 1)
            {
                return await StoreAsync(batch with { Readings = [.. readings.Take(readings.Count / 2)] }, refused, cancellationToken)
                    + await StoreAsync(batch with { Readings = [.. readings.Skip(readings.Count / 2)] }, refused, cancellationToken);
            }

            await RefuseAsync(Write(batch), exception.MessageText, refused, cancellationToken);
            return 0;
        }
    }

    async Task RefuseAsync(byte[] body, string reason, List<string> refused, CancellationToken cancellationToken)
    {
        await table.RefuseAsync(body, reason, cancellationToken);
        refused.Add(reason);
    }

    /// <summary>Recognizes gzip by its first bytes, with which no JSON text begins, so the caller need not pass contentEncoding.</summary>
    static ReadOnlyMemory<byte> Unpack(byte[] body)
    {
        if (body is not [0x1f, 0x8b, ..]) return body;
        using var packed = new GZipStream(new MemoryStream(body), CompressionMode.Decompress);
        using var json = new MemoryStream();
        var part = new byte[81920];
        for (int read; (read = packed.Read(part)) > 0; json.Write(part, 0, read))
        {
            if (json.Length + read > MaxBytes) throw new InvalidDataException($"it has more than {MaxBytes} bytes after decompression");
        }

        return json.GetBuffer().AsMemory(0, (int)json.Length);
    }

    static byte[] Write(Batch batch)
    {
        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("device", batch.Device);
            writer.WriteString("module", batch.Module);
            writer.WriteString("epoch", batch.Epoch);
            writer.WriteStartArray("batch");
            foreach (var reading in batch.Readings)
            {
                writer.WriteStartObject();
                writer.WriteNumber("id", reading.Id);
                writer.WritePropertyName("data");
                writer.WriteRawValue(reading.Data);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return json.ToArray();
    }
}
