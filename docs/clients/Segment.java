// Segment a case with Java 11 or newer: java Segment.java CASE.zip RESULT.zip [URL]
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

public class Segment {
    public static void main(String[] arguments) throws Exception {
        String url = arguments.length > 2 ? arguments[2] : "http://127.0.0.1:8000";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/segment"))
                .header("Content-Type", "application/zip")
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[0])))
                .build();
        HttpResponse<byte[]> response = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1) // the service does not speak HTTP/2
                .build()
                .send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) {
            System.err.println(new String(response.body(), StandardCharsets.UTF_8)); // the problem, in JSON
            System.exit(1);
        }
        Files.write(Path.of(arguments[1]), response.body());
    }
}
