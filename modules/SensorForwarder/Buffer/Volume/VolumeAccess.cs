using System.Runtime.InteropServices;
using SensorForwarder.Files;

namespace SensorForwarder.Buffer;

/// <summary>Explains why this process can't write to the buffer's directory, for error messages. Any thread.</summary>
internal static partial class VolumeAccess
{
    const int Write = 2, Search = 1;
    const int ReadOnlyFileSystem = 30; // EROFS

    /// <summary>What is wrong with the directory or its files, and what to do; general advice if no cause is found.
    /// </summary>
    public static string Explain(string directory)
    {
        const string Remedy = "check that the volume is mounted and writable";
        try
        {
            return Find(directory) ?? Remedy;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Remedy;
        }
    }

    static string? Find(string directory)
    {
        if (File.Exists(directory))
            return $"{directory} is a file, not a directory; set Buffer__Directory to a directory";
        if (!Directory.Exists(directory))
        {
            var parent = Path.GetDirectoryName(directory);
            while (parent is not null && !Directory.Exists(parent) && !File.Exists(parent))
                parent = Path.GetDirectoryName(parent);
            if (parent is null)
                return null;
            return File.Exists(parent)
                ? $"{directory} does not exist, and {parent} is a file; set Buffer__Directory to a directory"
                : FindRefusal(parent, Write | Search) is { } refusal
                    ? $"{directory} does not exist and can't be created: {refusal}"
                    : null;
        }
        return FindRefusal(directory, Write | Search)
            ?? Directory.EnumerateFiles(directory, "telemetry.*").Select(file => FindRefusal(file, Write))
                .FirstOrDefault(refusal => refusal is not null);
    }

    static string? FindRefusal(string path, int wanted)
    {
        if (access(path, wanted) == 0)
            return null;
        if (Marshal.GetLastPInvokeError() == ReadOnlyFileSystem)
            return $"{path} is mounted read-only; mount it read-write (docker: without ':ro')";
        var (user, group) = FileStatus.OfProcess();
        var owner = FileStatus.Of(path) is { } status
            ? $"has owner {status.User}:{status.Group} and mode {status.Mode}"
            : "can't be used";
        return $"{path} {owner}, and this process runs as {user}:{group}; run 'chown -R {user}:{group}' on that "
            + "directory of the host, or run the container as its owner";
    }

#pragma warning disable IDE1006 // The function has the C library's name.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int access(string path, int mode);
#pragma warning restore IDE1006
}
