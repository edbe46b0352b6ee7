namespace SensorForwarder.Buffer;

/// <summary>How <see cref="BufferLimits.MaxBytes"/> is divided among the files.</summary>
/// <param name="DatabaseBytes">For <c>telemetry.db</c>.</param>
/// <param name="WalBytes">For the WAL, which is checkpointed early enough that no transaction exceeds this.</param>
/// <param name="TransactionBytes">Payload limit of a transaction, so that one can't exceed the WAL's share.</param>
/// <param name="ReserveBytes">For the reserve file, which is deleted when the volume is full.</param>
internal readonly record struct StorageBudget(long DatabaseBytes, long WalBytes, int TransactionBytes, int ReserveBytes)
{
    // The WAL index (-shm), which SQLite allocates in blocks of 32 KiB.
    const int SharedMemoryBytes = 64 << 10;

    /// <summary>The WAL bytes of a rewritten segment of usual size.</summary>
    public const int LargestTransactionBytes = 144 << 10;

    // A longer WAL would not make checkpoints noticeably rarer, but takes longer to reach its final length.
    const long MaxWalBytes = 2L << 20;

    const long MinWalBytes = LargestTransactionBytes + (48 << 10);

    public static StorageBudget Of(BufferLimits limits)
    {
        var total = Math.Max(limits.MaxBytes, BufferLimits.MinMaxBytes);
        var wal = Math.Clamp(total / 16, MinWalBytes, MaxWalBytes);
        // On a full volume a checkpoint must still fit into the database, otherwise space could never be freed. The WAL
        // then holds half its share plus one transaction.
        var reserve = (int)(wal / 4 * 3);
        return new StorageBudget(total - wal - reserve - SharedMemoryBytes, wal, (int)wal / 4, reserve);
    }
}
