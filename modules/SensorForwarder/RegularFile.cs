namespace SensorForwarder;

/// <summary>Opens files that a person names: only regular ones, since opening a FIFO waits for a writer, and opening or
/// reading a device may do something to it.</summary>
internal static class RegularFile
{
    /// <summary>Opens the file that a path leads to, links resolved. Blocks as long as its file system does.</summary>
    /// <exception cref="IOException">It is not a regular file, or can't be read; the message says which.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static FileStream OpenRead(string path)
    {
        // Without an answer, opening the file says what is wrong.
        if (FileStatus.Of(path) is { IsRegularFile: false }) throw new IOException("it is not a regular file");
        var share = FileShare.ReadWrite | FileShare.Delete;
        return new FileStream(path, FileMode.Open, FileAccess.Read, share, bufferSize: 1);
    }
}
