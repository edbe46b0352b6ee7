namespace SensorForwarder.Buffer;

/// <summary>How <see cref="BufferLimits.MaxBytes"/> is shared out between the files.</summary>
/// <param name="DatabaseBytes">For <c>telemetry.db</c>.</param>
/// <param name="WalBytes">For the write-ahead log; it is copied back at half of that.</param>
/// <param name="TransactionBytes">Payload in one transaction, so that one alone can't overrun the WAL's share.</param>
/// <param name="ReserveBytes">For the file that is given up when the volume is full.</param>
internal readonly record struct StorageBudget(long DatabaseBytes, long WalBytes, int TransactionBytes, int ReserveBytes)
{
    // The WAL index; it grows by 32 KiB for each 16 MiB of WAL.
    const int SharedMemoryBytes = 64 << 10;

    public static StorageBudget Of(BufferLimits limits)
    {
        var total = Math.Max(limits.MaxBytes, BufferLimits.MinMaxBytes);
        var wal = Math.Clamp(total / 16, 128L << 10, 8L << 20);
        // On a full volume the log must still fit into the database, else nothing ever gets smaller again: it is copied
        // back at half its share, plus what the transaction at hand has added.
        var reserve = (int)(wal / 4 * 3);
        return new StorageBudget(total - wal - reserve - SharedMemoryBytes, wal, (int)wal / 4, reserve);
    }
}
